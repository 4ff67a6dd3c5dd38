"""All statements that look at deliveries for whoever asks how they fare: by id, in lists, in counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from bson import ObjectId

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb import newest_first
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.newest_first import RowKey
from notifications_service.notification import schema as notifications
from notifications_service.notification.retention import Retention
from notifications_service.outbox import schema
from notifications_service.outbox.filters import DeliveryFilter

_KEYS: Final = {"_id": 1, "createdAt": 1}


class DeliveryReads:
    """Reads deliveries; no method shows one whose end is longer ago than notifications are kept."""

    def __init__(self, database: Database, retention: Retention, clock: MillisecondClock) -> None:
        self._database = database
        self._retention = retention
        self._clock = clock
        self._rows = database.collection(schema.COLLECTION)
        self._notifications = database.collection(notifications.COLLECTION)

    @named
    async def get(self, id_: str) -> Document | None:
        """Return a delivery, or None."""
        query = {"_id": id_} | self._kept()
        rows = (await self._database.find(schema.COLLECTION, query, limit=1, hint="_id_")).rows
        return rows[0] if rows else None

    @named
    async def page(self, chosen: DeliveryFilter, after: RowKey | None, limit: int) -> list[Document]:
        """Return up to ``limit`` deliveries that match, newest first, after the key ``after``."""
        return await self._page(chosen, after, limit, None)

    @named
    async def keys(self, chosen: DeliveryFilter, after: RowKey | None, limit: int) -> list[RowKey]:
        """Return the keys of a page."""
        return [newest_first.key_of(row) for row in await self._page(chosen, after, limit, _KEYS)]

    @named
    async def count(self, chosen: Sequence[DeliveryFilter]) -> list[int]:
        """Return how many deliveries match each filter, all counted at one cluster time in one command.

        Those that are no longer kept are counted with the rest, from the keys of the index alone, and subtracted: until
        the sweeper comes there are few.
        """
        now, gone = self._clock(), {"finishedAt": {"$lte": self._retention.visibility().cutoff}}
        parts = [
            _counting(number, each.query(now) | only, sign)
            for number, each in enumerate(chosen)
            for only, sign in (({}, 1), (gone, -1))
        ]
        rest = [{"$unionWith": {"coll": schema.COLLECTION, "pipeline": part}} for part in parts[1:]]
        found = await self._database.aggregate(schema.COLLECTION, parts[0] + rest, hint=chosen[0].hint, snapshot=True)
        counts = [0] * len(chosen)
        for row in found.rows:
            counts[row["of"]] += row["sign"] * row["n"]
        return counts

    @named
    async def of_message(self, provider_message_id: str) -> str | None:
        """Return the id of the newest mail that the far end calls so; None: there is none."""
        query = {"log.providerMessageId": provider_message_id, "channel": "email"} | self._kept()
        found = await self._database.find(
            schema.COLLECTION, query, limit=1, hint=schema.MESSAGE_INDEX, sort=newest_first.ORDER, projection=_KEYS
        )
        return found.rows[0]["_id"] if found.rows else None

    @named
    async def get_in(self, session: ClientSession, ids: Collection[str]) -> dict[str, Document]:
        """Return those of the deliveries that exist, within a transaction of the caller's."""
        query = {"_id": {"$in": list(ids)}} | self._kept()
        return {row["_id"]: row async for row in self._rows.find(query, hint="_id_", session=session)}

    @named
    async def notifications_in(self, session: ClientSession, keys: Collection[ObjectId]) -> set[ObjectId]:
        """Return those of the notifications that are still in the feed, within a transaction of the caller's."""
        if not keys:
            return set()
        query = {"_id": {"$in": list(keys)}, **self._retention.visibility().of_any_row}
        found = self._notifications.find(query, {"_id": 1}, hint="_id_", session=session)
        return {row["_id"] async for row in found}

    async def _page(
        self, chosen: DeliveryFilter, after: RowKey | None, limit: int, projection: Document | None
    ) -> list[Document]:
        if chosen.is_contradiction:
            return []
        query = chosen.query(self._clock()) | self._kept()
        found = await self._database.find(
            schema.COLLECTION,
            newest_first.go_on(query, after),
            limit=limit,
            hint=chosen.hint,
            sort=newest_first.ORDER,
            projection=projection,
        )
        return found.rows

    def _kept(self) -> Document:
        return {"finishedAt": {"$not": {"$lte": self._retention.visibility().cutoff}}}


def _counting(number: int, query: Document, sign: int) -> list[Document]:
    return [{"$match": query}, {"$count": "n"}, {"$set": {"of": number, "sign": sign}}]
