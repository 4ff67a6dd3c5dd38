"""The history of users' notifications: change events between two positions, a bounded part at a time.

It is for watchers that resume from a token or fell behind. Those that ask at the same time share one short change
stream, filtered by the server, so a thousand that reconnect at once need only a few streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pymongo.errors import PyMongoError

from chassis.batching.coalesce import Coalescer
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.driver_errors import translated
from notifications_service.watch.change_stream import opened
from notifications_service.watch.changes import ChangeEvent, HistoryLost, StreamPosition, time_of

# Seconds that the server waits for more events at the end of its log; it should answer at once.
_WAIT: Final = 0.001
# A long history is searched in one go, at some 100,000 events a second.
_STALL: Final = 60.0
_SHARING: Final = 500
# Histories that begin within so many seconds are read together, so that nobody waits for a much longer one.
_NEAR: Final = 60


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """A part of one user's history: after a position, up to and including another."""

    user_id: str
    after: StreamPosition
    until: StreamPosition


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """Changes in order, complete up to the position ``reached``; ``lost``: the history is no longer kept."""

    changes: list[ChangeEvent]
    reached: StreamPosition
    lost: bool = False


class History:
    """Reads histories; nothing is held in the database while a caller takes its events."""

    def __init__(self, database: Database, at_once: int, size: int) -> None:
        """``at_once``: streams open at the same time; ``size``: changes that each may bring."""
        self._database = database
        self._size = size
        self._reads = Coalescer(
            self._fetch, max_batch=_SHARING, max_in_flight=at_once, timeout=_STALL, timed_out=WatchInterrupted
        )

    async def read(self, wanted: HistoryRange) -> HistoryPart:
        """Return the first changes of a range; possibly none of them yet.

        Raises ResumeTokenExpired when they are no longer kept, WatchInterrupted or DatabaseUnavailable when the
        database went away.
        """
        try:
            part = await self._reads.get(wanted)
        except PyMongoError as error:
            raise translated(error) from error
        if part is None or part.lost:
            raise ResumeTokenExpired
        return part

    async def _fetch(self, wanted: list[HistoryRange]) -> dict[HistoryRange, HistoryPart]:
        # Whoever is left out gets no changes, and asks again; the first one is never left out.
        unread = {item: HistoryPart([], item.after) for item in wanted}
        group = _near(wanted)
        try:
            return unread | await self._scan(group)
        except HistoryLost:
            return unread | await self._scan_alone(wanted[0])

    async def _scan_alone(self, item: HistoryRange) -> dict[HistoryRange, HistoryPart]:
        try:
            return await self._scan([item])
        except HistoryLost:
            return {item: HistoryPart([], item.after, lost=True)}

    async def _scan(self, group: Sequence[HistoryRange]) -> dict[HistoryRange, HistoryPart]:
        first, last = min(item.after for item in group), max(item.until for item in group)
        sorter = _Sorter(group)
        match = _concerning(sorter.users, last)
        reading = opened(self._database, first, wait=_WAIT, stall=_STALL, match=match)
        async with self._database.place(), reading as stream:
            while stream.position < last and sorter.count < self._size:
                for change in await stream.next() or ():
                    sorter.take(change)
            return sorter.parts(stream.position)


class _Sorter:
    """Sorts changes into the ranges that they belong to."""

    def __init__(self, group: Sequence[HistoryRange]) -> None:
        self.count = 0
        self._by_user: dict[str, list[tuple[HistoryRange, list[ChangeEvent]]]] = {}
        for item in group:
            self._by_user.setdefault(item.user_id, []).append((item, []))

    @property
    def users(self) -> list[str]:
        """The users whose changes are wanted."""
        return list(self._by_user)

    def take(self, change: ChangeEvent) -> None:
        """Sort a change in; the last one may belong to a user whom nobody asked for."""
        for item, changes in self._by_user.get(change.user_id, ()):
            if item.after < change.position <= item.until:
                changes.append(change)
                self.count += 1

    def parts(self, position: StreamPosition) -> dict[HistoryRange, HistoryPart]:
        """Return the sorted changes, when everything up to a position was read."""
        return {
            item: HistoryPart(changes, min(max(position, item.after), item.until))
            for group in self._by_user.values()
            for item, changes in group
        }


def _near(wanted: Sequence[HistoryRange]) -> list[HistoryRange]:
    """Return those whose history begins about when that of the first does."""
    begins = time_of(wanted[0].after).time
    return [item for item in wanted if abs(time_of(item.after).time - begins) <= _NEAR]


def _concerning(users: Sequence[str], last: StreamPosition) -> Document:
    return {
        "$or": [
            {"fullDocument.userId": {"$in": users}},
            {"fullDocumentBeforeChange.userId": {"$in": users}},
            {"fullDocument": None, "fullDocumentBeforeChange": None},
            # The event at the end, whoever it concerns. Otherwise the server would report that it has passed it only
            # with the next event, which in an idle cluster comes after 10 seconds.
            {"_id._data": last},
        ]
    }
