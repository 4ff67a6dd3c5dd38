"""The search for due deliveries, lane by lane: where in the index of `deliveries` it begins.

MongoDB keeps the keys of changed rows for minutes (minSnapshotHistoryWindowInSeconds), and whoever reads the index from
its beginning reads over those of all that was claimed meanwhile. So a search of a long queue goes on where the queue
began last time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

from bson import MinKey

from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.outbox import schema
from notifications_service.outbox.model import Lane

# How often a search begins at the beginning of the index. What came due before all that waits, such as a row whose
# lease ran out, is found so much later at most, and only where the queue is longer than a search.
WHOLE_EVERY_SECONDS: Final = 1.0

# The resolution of times in the database.
_TICK: Final = timedelta(milliseconds=1)
_SHOWN: Final = {"_id": 1, "userId": 1, "state": 1, "dueAt": 1}


@dataclass(frozen=True, slots=True)
class _Head:
    """The time at which the longest due became so, and until when it is believed (of ``monotonic``)."""

    due_at: datetime
    until: float


class DueRows:
    """Finds what is due of a channel and a lane: of each row its id, user, state and due time."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._heads: dict[tuple[str, Lane | None], _Head] = {}

    async def find(
        self, channel: str, lane: Lane | None, limit: int, now: datetime, *, newest: bool = False
    ) -> list[Document]:
        """Return up to ``limit`` rows, the longest due first; of digests none that became due after what has no lane.

        That may be about to join a digest of the same hour. ``newest``: those that came due last, if any came after the
        moment of the longest due.
        """
        end = now + _TICK
        # From the beginning, always: what was scheduled may come with an earlier due time than all that waits.
        if lane is Lane.DIGEST and (first := await self._between(channel, None, None, end, 1)):
            end = first[0]["dueAt"]
        if newest and (first := await self._longest(channel, lane, end, 1)):
            after = first[0]["dueAt"] + _TICK
            if last := await self._between(channel, lane, after, end, limit, order=-1):
                return last
        return await self._longest(channel, lane, end, limit)

    async def _longest(self, channel: str, lane: Lane | None, end: datetime, limit: int) -> list[Document]:
        queue = channel, lane
        head = self._heads.get(queue)
        if head is not None and self._monotonic() < head.until:
            rows = await self._between(channel, lane, head.due_at, end, limit)
            if len(rows) == limit:
                self._heads[queue] = _Head(rows[0]["dueAt"], head.until)
                return rows
        until = self._monotonic() + WHOLE_EVERY_SECONDS
        rows = await self._between(channel, lane, None, end, limit)
        if len(rows) == limit:
            self._heads[queue] = _Head(rows[0]["dueAt"], until)
        else:
            self._heads.pop(queue, None)
        return rows

    async def _between(
        self, channel: str, lane: Lane | None, begin: datetime | None, end: datetime, limit: int, *, order: int = 1
    ) -> list[Document]:
        """Read the index from ``begin`` (None: all) to ``end``, which is left out."""
        if begin is not None and begin >= end:
            return []  # which MongoDB refuses to read
        # The bounds are given: the planner takes a missing lane for two ranges, null and undefined, and reads both.
        lowest: dict[str, Any] = {"channel": channel, "lane": lane, "dueAt": MinKey() if begin is None else begin}
        found = await self._database.find(
            schema.COLLECTION,
            {"dueAt": {"$lt": end}},
            limit=limit,
            hint=schema.CLAIM_INDEX,
            sort=dict.fromkeys(lowest, order),
            projection=_SHOWN,
            min=lowest,
            max=lowest | {"dueAt": end},
        )
        return found.rows
