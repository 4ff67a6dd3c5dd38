"""What happened to one user's notifications between two places, a bounded part at a time.

For watchers that resume from a token or fell behind: a short change stream of their own, filtered by the server.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from pymongo.errors import PyMongoError

from notifications_service.database import Database, translated
from notifications_service.documents import Document
from notifications_service.watch.change_stream import ChangeStream, opened
from notifications_service.watch.changes import Change, HistoryLost, Place, Position
from notifications_service.watch.errors import ResumeTokenExpired, WatchInterrupted

# Seconds that the server waits at the end of its log, where it is to say at once that there is nothing more.
_WAIT: Final = 0.001
# A long history is searched in one go, at some 100,000 events a second.
_STALL: Final = 60.0


@dataclass(frozen=True, slots=True)
class Part:
    """Changes in order; ``complete``: nothing is left up to the end asked for."""

    changes: list[Change]
    complete: bool


class History:
    """Reads histories, so many at once; no connection is held while a caller takes its events."""

    def __init__(self, database: Database, at_once: int, size: int) -> None:
        """``at_once``: histories read at the same time; ``size``: changes of one part."""
        self._database = database
        self._size = size
        self._slots = asyncio.Semaphore(at_once)

    async def read(self, user_id: str, after: Place, until: Position) -> Part:
        """Return the first changes of the user after a place, up to and including ``until``.

        Some may be covered by the floor of ``after``. Raises ResumeTokenExpired when they are no longer kept,
        WatchInterrupted or DatabaseUnavailable when the database went away.
        """
        async with self._slots:
            try:
                match = _concerning(user_id, until)
                async with opened(self._database, after.position, wait=_WAIT, stall=_STALL, match=match) as stream:
                    return await self._part(stream, user_id, until)
            except HistoryLost:
                raise ResumeTokenExpired from None
            except TimeoutError:
                raise WatchInterrupted from None
            except PyMongoError as error:
                raise translated(error) from error

    async def _part(self, stream: ChangeStream, user_id: str, until: Position) -> Part:
        changes: list[Change] = []
        while len(changes) < self._size:
            change = await stream.next()
            # The event at the end may be another user's.
            if change is not None and change.user_id == user_id and change.position <= until:
                changes.append(change)
            if stream.position >= until:
                return Part(changes, complete=True)
        return Part(changes, complete=False)


def _concerning(user_id: str, until: Position) -> Document:
    return {
        "$or": [
            {"fullDocument.userId": user_id},
            {"fullDocumentBeforeChange.userId": user_id},
            {"fullDocument": None, "fullDocumentBeforeChange": None},
            # The end, if it is an event, whoever it concerns: the server tells of its progress past events that it
            # leaves out only once something else has happened, 10 seconds later in an idle cluster.
            {"_id._data": until},
        ]
    }
