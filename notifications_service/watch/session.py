"""One WatchNotifications call from its first event to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bson import Timestamp
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.watching.errors import ResumeTokenExpired
from chassis.watching.waiting import unless_ended, while_beating
from notifications_service.watch.changes import ChangeEvent, ResumePoint, time_of
from notifications_service.watch.counts import Badges, Counts
from notifications_service.watch.events import Events
from notifications_service.watch.history import History, HistoryRange
from notifications_service.watch.hub import Hub
from notifications_service.watch.snapshot import Snapshots
from notifications_service.watch.watcher import Event, Watcher

WriteResponse = Callable[[pb.WatchNotificationsResponse], Awaitable[None]]

DEFAULT_SNAPSHOT: Final = 100
# Seconds that another process's stream may be ahead of this one's. A token that is further ahead comes from another
# database, such as one that was restored from a backup since; waiting for its time would miss all events until then.
_AHEAD: Final = 300


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of events of all sessions."""

    hub: Hub
    history: History
    snapshots: Snapshots
    events: Events
    counts: Counts


class WatchSession:
    """Writes the events of one watch, in order, and keeps the resume point up to which they are written."""

    def __init__(
        self, sources: Sources, watcher: Watcher, interval: float, write: WriteResponse, *, counting: bool
    ) -> None:
        """``interval``: seconds without an event after which a heartbeat is due; ``counting``: tell counts."""
        self._sources = sources
        self._watcher = watcher
        self._user_id = watcher.user_id
        self._chosen = watcher.chosen
        self._interval = interval
        self._write = write
        self._place: ResumePoint | None = None
        self._greeted = False
        self._counting = counting
        # The latest counts told, which also serve what was committed by their time.
        self._counted: Badges | None = None

    async def start_now(self) -> None:
        """Begin with events that are committed from now on."""
        moment = await self._sources.snapshots.now(self._sources.hub.changed_at)
        self._place = ResumePoint(self._watcher.joined_at, moment)
        await self._greet()

    async def start_with_snapshot(self, limit: int) -> None:
        """Begin with at most ``limit`` unread notifications, and go on with events committed after them."""
        await self._beat()
        snapshots, events = self._sources.snapshots, self._sources.events
        after = self._sources.hub.changed_at
        snapshot = await snapshots.draw(self._user_id, self._chosen, limit or DEFAULT_SNAPSHOT, after)
        count = 0
        async for part in snapshots.read(self._user_id, snapshot):
            for response in filter(None, map(events.snapshot, part)):
                await self._send(response)
                count += 1
        self._place = ResumePoint(self._watcher.joined_at, snapshot.at)
        end = events.snapshot_end(
            self._user_id, self._place, count, snapshot.seen, truncated=snapshot.truncated, chosen=self._chosen
        )
        await self._tell(end, snapshot.at)

    def start_after(self, place: ResumePoint) -> None:
        """Begin after the resume point of an earlier watch. Raises ResumeTokenExpired for one of another database."""
        if time_of(place.position).time > time_of(self._watcher.joined_at).time + _AHEAD:
            raise ResumeTokenExpired
        self._place = place

    async def run(self) -> None:
        """Write events until the watch has to end, which it does with an error of ``watch.errors``."""
        while True:
            await self._catch_up()
            await self._greet()
            await self._live()
            await self._sources.hub.join(self._watcher)

    async def _catch_up(self) -> None:
        """Write the events between the resume point and the position at which the watcher joined the shared stream."""
        until = self._watcher.joined_at
        while (place := self._reached()).position < until:
            wanted = HistoryRange(self._user_id, place.position, until)
            part = await while_beating(self._watcher, self._sources.history.read(wanted), self._interval, self._beat)
            await self._greet()
            for change in part.changes:
                await self._send_change(change)
            self._place = ResumePoint(part.reached, place.floor)

    async def _live(self) -> None:
        """Write the events of the shared stream until the watcher falls behind."""
        while True:
            event = await self._watcher.next(self._interval)
            if event is not None:
                await self._send_event(event)
            elif self._watcher.behind:
                return
            else:
                self._advance()
                await self._beat()

    def _reached(self) -> ResumePoint:
        if self._place is None:
            raise RuntimeError("a start comes before the run")
        return self._place

    def _advance(self) -> None:
        """Advance the resume point to the shared stream's position: all its events so far are written."""
        position, place = self._sources.hub.position, self._reached()
        if position is not None and position > place.position:
            self._place = ResumePoint(position, place.floor)

    async def _send_change(self, change: ChangeEvent) -> None:
        event = self._sources.events.of(change, self._chosen)
        if event is not None:
            await self._send_event(event)

    async def _send_event(self, event: Event) -> None:
        if not self._reached().covers(event.position, event.at):
            await self._tell(event.response, event.at)
            self._place = ResumePoint(event.position)

    async def _greet(self) -> None:
        """Write a heartbeat as the first event, which tells the caller that the watch has begun."""
        if not self._greeted:
            await self._beat()

    async def _beat(self) -> None:
        self._greeted = True
        await self._tell(self._sources.events.heartbeat(self._user_id, self._place, self._chosen), None)

    async def _tell(self, response: pb.WatchNotificationsResponse, at: Timestamp | None) -> None:
        """Write a response, with counts if they were asked for; ``at``: when it happened, None: now."""
        if self._counting:
            # A copy, since others share the response.
            response = pb.WatchNotificationsResponse.FromString(response.SerializeToString())
            counted = await self._count(at)
            response.counts.unread, response.counts.unseen = counted.unread, counted.unseen
        await self._send(response)

    async def _count(self, at: Timestamp | None) -> Badges:
        if at is None or self._counted is None or self._counted.at < at:
            counting = self._sources.counts.after(self._user_id, self._chosen, at)
            self._counted = await unless_ended(self._watcher, counting)
        return self._counted

    async def _send(self, response: pb.WatchNotificationsResponse) -> None:
        await self._write(response)
        self._watcher.check()
