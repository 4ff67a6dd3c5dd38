"""Batching of calls: reads by id, pages and counts that arrive together share a command.

A command costs the driver far more than the rows in it (docs/decisions/0012). While a few commands are under way the
next calls gather, so that under load one command serves many calls; a lone call waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from bson import ObjectId, Timestamp

from chassis.batching.coalesce import Coalescer
from notifications_service.feed.paging import PageKey, PageStart
from notifications_service.feed.repository import FeedRepository
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import QueryResult
from notifications_service.notification import filters
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter

T = TypeVar("T")

Filters = tuple[Filter, ...]

# The database takes about a microsecond a row to count, on one core for each command. So several commands run at a
# time, each for few users: a user with very many rows delays few others.
COUNT_BATCH: Final = 8
COUNTS_IN_FLIGHT: Final = 4
# Lists in one command, and rows of each: together far below the 16 MiB of an answer of MongoDB.
PAGE_BATCH: Final = 8
PAGE_ROWS: Final = 21
# One command of a kind at a time: with two, each would serve half as many calls, at twice the cost for each.
IN_FLIGHT: Final = 1
# Seconds that a command may take longer than its own limit before it is given up.
MARGIN: Final = 0.5
_NONE: Final = QueryResult([])


class Counted(NamedTuple):
    """How many notifications match each of several filters; ``at``: the cluster time, where it is known."""

    counts: list[int]
    at: Timestamp | None = None

    @property
    def seen(self) -> AsOf | None:
        """What the counts have seen; None where that is not known."""
        return None if self.at is None else AsOf(self.at)


class SharedCommands:
    """Gathers calls into commands of the repository; ``timeout``: its limit for one, in seconds."""

    def __init__(self, repository: FeedRepository, timeout: float) -> None:
        self._repository = repository
        limit = timeout + MARGIN
        self._gets: Coalescer[tuple[ObjectId, str], Document] = Coalescer(
            self._read_each, max_in_flight=IN_FLIGHT, timeout=limit
        )
        self._pages: Coalescer[tuple[str, PageStart], QueryResult] = Coalescer(
            self._read_pages, max_batch=PAGE_BATCH, max_in_flight=IN_FLIGHT, timeout=limit
        )
        self._counts: Coalescer[tuple[str, Filters], Counted] = Coalescer(
            self._count, max_batch=COUNT_BATCH, max_in_flight=COUNTS_IN_FLIGHT, timeout=limit
        )

    async def get(self, key: ObjectId, user_id: str = "") -> Document | None:
        """Return a notification, or None. ``user_id``: whose it should be, if known; it may be another's."""
        return await self._gets.get((key, user_id))

    async def page(
        self, user_id: str, chosen: Filter, after: PageKey | None, limit: int, projection: Document | None
    ) -> QueryResult:
        """Return the newest rows that match, beyond ``after``: ``limit`` of them, or fewer where they are cut.

        Whole rows of a short list that says nothing of states share a command (docs/decisions/0012); all others have
        one of their own.
        """
        if projection is not None or limit > PAGE_ROWS or not chosen.is_any_state:
            return await self._repository.page(user_id, chosen, after, limit, projection)
        rows, cut, at = await self._pages.get((user_id, (chosen, after))) or _NONE
        return QueryResult(rows[:limit], cut and len(rows) < limit, at)

    async def count(self, user_id: str, asked: Filters) -> Counted:
        """Return how many of a user's notifications match each filter."""
        return await self._counts.get((user_id, asked)) or Counted([0] * len(asked))

    async def _read_each(self, keys: list[tuple[ObjectId, str]]) -> dict[tuple[ObjectId, str], Document]:
        users = {user_id for _, user_id in keys}
        # One whose user is not known has the whole command go to all shards.
        found = await self._repository.get_many(list({key for key, _ in keys}), users=() if "" in users else users)
        return {each: found[each[0]] for each in keys if each[0] in found}

    async def _read_pages(self, keys: list[tuple[str, PageStart]]) -> dict[tuple[str, PageStart], QueryResult]:
        # Rows are assigned to calls by their user, so a command has each user once.
        rounds: list[dict[str, PageStart]] = []
        for user_id, beginning in keys:
            free = next((asked for asked in rounds if user_id not in asked), None)
            if free is None:
                rounds.append({user_id: beginning})
            else:
                free[user_id] = beginning
        found = await _all([self._repository.pages(asked, PAGE_ROWS) for asked in rounds])
        return {
            (user_id, asked[user_id]): page
            for asked, pages in zip(rounds, found, strict=True)
            for user_id, page in pages.items()
        }

    async def _count(self, keys: list[tuple[str, Filters]]) -> dict[tuple[str, Filters], Counted]:
        users: dict[Filters, list[str]] = {}
        for user_id, asked in keys:
            users.setdefault(asked, []).append(user_id)
        counted = await _all([self._count_alike(names, asked) for asked, names in users.items()])
        return {key: counts for part in counted for key, counts in part.items()}

    async def _count_alike(self, users: Sequence[str], asked: Filters) -> dict[tuple[str, Filters], Counted]:
        groups = await self._repository.counts.group(users, filters.group_key(asked))
        counts = {user_id: [0] * len(asked) for user_id in users}
        for group in groups.rows:
            user_id = group["_id"]["userId"]
            if not isinstance(user_id, str):
                # Another system wrote a list of users, so the row belongs to nobody.
                continue
            mine = counts[user_id]
            for number, item in enumerate(asked):
                if filters.matches(number, item, group["_id"]):
                    mine[number] += group["n"]
        # Rows written between the two counts may have been subtracted without having been added.
        return {
            (user_id, asked): Counted([max(0, number) for number in found], groups.at)
            for user_id, found in counts.items()
        }


async def _all(commands: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    # A single command, which is the usual case, needs no task of its own.
    return [await commands[0]] if len(commands) == 1 else await asyncio.gather(*commands)
