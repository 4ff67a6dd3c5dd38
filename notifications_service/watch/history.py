"""What happened to users' notifications between two places, a bounded part at a time.

For watchers that resume from a token or fell behind. Those that ask at the same time share one short change stream,
filtered by the server, so that a thousand that reconnect at once cost a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pymongo.errors import PyMongoError

from chassis.batching.coalesce import Coalescer
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database, translated
from notifications_service.watch.change_stream import opened
from notifications_service.watch.changes import ChangeEvent, HistoryLost, StreamPosition, time_of
from notifications_service.watch.errors import ResumeTokenExpired, WatchInterrupted

# Seconds that the server waits at the end of its log, where it is to say at once that there is nothing more.
_WAIT: Final = 0.001
# A long history is searched in one go, at some 100,000 events a second.
_STALL: Final = 60.0
_SHARING: Final = 500
# Seconds between the beginnings of histories that are read together: nobody waits for one that is much longer.
_NEAR: Final = 60


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """A part of one user's history: after a position, up to and including another."""

    user_id: str
    after: StreamPosition
    until: StreamPosition


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """Changes in order, and the position up to which they are all; ``lost``: they are no longer kept."""

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
        """Return the first of the changes wanted; at times none of them yet.

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
        # Who is left out has come no further, and asks again; the first one never is.
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
        async with opened(self._database, first, wait=_WAIT, stall=_STALL, match=match) as stream:
            while stream.position < last and sorter.count < self._size:
                change = await stream.next()
                if change is not None:
                    sorter.take(change)
            return sorter.parts(stream.position)


class _Sorter:
    """Gives changes to all who want them."""

    def __init__(self, group: Sequence[HistoryRange]) -> None:
        self.count = 0
        self._by_user: dict[str, list[tuple[HistoryRange, list[ChangeEvent]]]] = {}
        for item in group:
            self._by_user.setdefault(item.user_id, []).append((item, []))

    @property
    def users(self) -> list[str]:
        """Whose changes are wanted."""
        return list(self._by_user)

    def take(self, change: ChangeEvent) -> None:
        """Sort a change in; the one at the end may be of a user whom nobody asked for."""
        for item, changes in self._by_user.get(change.user_id, ()):
            if item.after < change.position <= item.until:
                changes.append(change)
                self.count += 1

    def parts(self, position: StreamPosition) -> dict[HistoryRange, HistoryPart]:
        """Return what was sorted in, all being read up to a position."""
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
            # The end, if it is an event, whoever it concerns: the server tells of its progress past events that it
            # leaves out only once something else has happened, 10 seconds later in an idle cluster.
            {"_id._data": last},
        ]
    }
