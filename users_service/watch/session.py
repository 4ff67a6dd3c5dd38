"""One WatchUsers call from its first event to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vibework.users.v1 import user_service_pb2 as pb

from chassis.watching.errors import ResumeTokenExpired
from chassis.watching.waiting import while_beating
from users_service.events.model import Place, UserEvent
from users_service.watch.history import History
from users_service.watch.hub import Hub
from users_service.watch.messages import Responses
from users_service.watch.watcher import Event, Watcher

WriteResponse = Callable[[pb.WatchUsersResponse], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of events of all sessions."""

    hub: Hub
    history: History
    responses: Responses


class WatchSession:
    """Writes the events of one watch, in order, and keeps the place up to which they are written."""

    def __init__(self, sources: Sources, watcher: Watcher, interval: float, write: WriteResponse) -> None:
        """``interval``: seconds without an event after which a heartbeat is due. The watcher has joined."""
        self._sources = sources
        self._watcher = watcher
        self._interval = interval
        self._write = write
        self._place = watcher.joined_at

    def start_after(self, place: Place) -> None:
        """Begin after the place of an earlier watch. Raises ResumeTokenExpired for one of another history."""
        self._place = place
        self._require_place()

    async def run(self) -> None:
        """Write events until the watch has to end, which it does with an error."""
        part = await self._read()
        # The first event says that the watch is in place: what follows the token is known.
        await self._beat()
        while True:
            await self._catch_up(part)
            await self._live()
            await self._sources.hub.join(self._watcher)
            # The hub ends those of its watchers whose events were lost; this one was not among them.
            self._require_place()
            part = await self._read()

    def _require_place(self) -> None:
        """Raise ResumeTokenExpired where the place reached is not of the history that the hub has."""
        joined = self._watcher.joined_at
        ahead = self._place.seq > joined.seq or (self._place.seq == joined.seq and self._place.contradicts(joined))
        if ahead or self._place.epoch != joined.epoch:
            raise ResumeTokenExpired

    async def _read(self) -> list[UserEvent]:
        """Return the next events between the place reached and that at which the watcher joined the hub."""
        if self._place.seq >= self._watcher.joined_at.seq:
            return []
        reading = while_beating(self._watcher, self._sources.history.after(self._place), self._interval, self._beat)
        return [event for event in await reading if event.place.seq <= self._watcher.joined_at.seq]

    async def _catch_up(self, part: list[UserEvent]) -> None:
        while part:
            for event in part:
                told = self._sources.responses.of(event)
                if told is not None and self._watcher.wants(told):
                    await self._send(told)
                self._place = event.place
            part = await self._read()

    async def _live(self) -> None:
        """Write the events of the hub until the watcher falls behind."""
        while True:
            event = await self._watcher.next(self._interval)
            if event is not None:
                await self._send(event)
            elif self._watcher.behind:
                return
            else:
                self._advance()
                await self._beat()

    async def _send(self, event: Event) -> None:
        if event.place.seq > self._place.seq:
            await self._tell(event.response)
            self._place = event.place

    def _advance(self) -> None:
        """Advance to the hub's place: all events up to there are written, or of kinds that nobody asked for."""
        place = self._sources.hub.place
        if place is not None and place.seq > self._place.seq:
            self._place = place

    async def _beat(self) -> None:
        await self._tell(self._sources.responses.heartbeat(self._place))

    async def _tell(self, response: pb.WatchUsersResponse) -> None:
        await self._write(response)
        self._watcher.check()
