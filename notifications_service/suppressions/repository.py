"""All statements on the collection `suppressions`: one row for each address and reason.

A row is found by the keyed hash of its address, which is part of its id; the address itself is sealed in it
(docs/decisions/0084).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Binary

from chassis.context.statements import named
from chassis.contract import tokentext
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from chassis.logs import logging
from notifications_service.addresses import AddressHashes, normalized
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification import schema
from notifications_service.notification.schema import SUPPRESSIONS_INDEX
from notifications_service.suppressions.model import Suppression, SuppressionReason

NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}

# Time (naive UTC) and id of a row.
RowKey = tuple[datetime, str]
Reasons = frozenset[SuppressionReason]

_ALL: Final = tuple(SuppressionReason)


class SuppressionRepository:
    """Reads and writes the suppression list; no method sees a suppression that has ended."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._rows = database.collection(schema.SUPPRESSIONS)
        self._hashes = AddressHashes(keyring)
        self._cipher = keyring.cipher("suppressions")

    @named
    async def active(self, addresses: Collection[str], now: datetime) -> dict[str, Reasons]:
        """Return why nothing is sent to those of the addresses that are suppressed, by their normalised form.

        One read by keys alone, for some hundreds of addresses.
        """
        wanted = {key: normalized(address) for address in addresses for key in self._keys(address, _ALL)}
        found: dict[str, Reasons] = {}
        for row in await self._standing(wanted, now, {"reason": 1}):
            address, reason = wanted[row["_id"]], SuppressionReason(row["reason"])
            found[address] = found.get(address, frozenset()) | {reason}
        return found

    @named
    async def of_address(self, address: str, now: datetime) -> list[tuple[RowKey, Suppression]]:
        """Return the suppressions of an address, newest first."""
        rows = await self._standing(self._keys(address, _ALL), now)
        return sorted(map(self._read, rows), key=lambda item: item[0], reverse=True)

    @named
    async def page(self, query: Document, now: datetime, limit: int) -> list[tuple[RowKey, Suppression]]:
        """Return up to ``limit`` suppressions that match, newest first."""
        found = await self._database.find(
            schema.SUPPRESSIONS, query | _standing(now), limit=limit, hint=SUPPRESSIONS_INDEX, sort=NEWEST_FIRST
        )
        return [self._read(row) for row in found.rows]

    @named
    async def count(self, query: Document, now: datetime) -> int:
        """Return how many suppressions match, from the keys of the index alone."""
        pipeline: list[Any] = [{"$match": query | _standing(now)}, {"$count": "n"}]
        found = await self._database.aggregate(schema.SUPPRESSIONS, pipeline, hint=SUPPRESSIONS_INDEX)
        return sum(row["n"] for row in found.rows)

    @named
    async def put_in(self, session: ClientSession, new: Suppression) -> bool:
        """Begin or renew a suppression within a transaction of the caller's; say whether it did.

        What began at the same time or later is left as it is, so a report that comes twice changes nothing.
        """
        keys = self._keys(new.address, [new.reason])
        query = {"_id": {"$in": keys}}
        found = [row async for row in self._rows.find(query, {"createdAt": 1}, hint="_id_", session=session)]
        if any(row["createdAt"] >= new.created_at for row in found):
            return False
        # The id changes with the newest key, so the row is replaced by delete and insert.
        if found:
            await self._rows.delete_many(query, session=session)
        await self._rows.insert_one(self._row(keys[0], new), session=session)
        return True

    @named
    async def delete(self, address: str, reasons: Iterable[SuppressionReason], now: datetime) -> int:
        """Take an address off the list, for these reasons; return how many suppressions it had for them."""
        query = {"_id": {"$in": self._keys(address, reasons)}} | _standing(now)
        result = await self._database.run(lambda: self._rows.delete_many(query, collation=BYTEWISE), query)
        return result.deleted_count

    async def _standing(
        self, keys: Collection[str], now: datetime, projection: Document | None = None
    ) -> Sequence[Document]:
        if not keys:
            return ()
        query = {"_id": {"$in": list(keys)}} | _standing(now)
        found = await self._database.find(
            schema.SUPPRESSIONS, query, limit=len(keys), hint="_id_", projection=projection
        )
        return found.rows

    def _keys(self, address: str, reasons: Iterable[SuppressionReason]) -> list[str]:
        """Return the ids that rows of an address may have: of each reason, under each key, the newest first."""
        hashes = self._hashes.each_of(address)
        return [f"{reason}:{tokentext.write(each)}" for reason in reasons for each in hashes]

    def _row(self, key: str, new: Suppression) -> Document:
        sealed = self._cipher.encrypt(normalized(new.address).encode(), key.encode())
        row = {"_id": key, "reason": new.reason.value, "address": Binary(sealed), "createdAt": new.created_at}
        optional = {"deliveryId": new.delivery_id, "detail": new.detail, "expiresAt": new.expires_at}
        return row | {name: value for name, value in optional.items() if value}

    def _read(self, row: Document) -> tuple[RowKey, Suppression]:
        found = Suppression(
            self._opened(row),
            SuppressionReason(row["reason"]),
            row["createdAt"],
            row.get("deliveryId", ""),
            row.get("detail", ""),
        )
        return (row["createdAt"], row["_id"]), found

    def _opened(self, row: Document) -> str:
        try:
            return self._cipher.decrypt(bytes(row["address"]), row["_id"].encode()).decode()
        except (KeyMissing, CiphertextInvalid) as error:
            logging.get(__name__).error("suppressed address unreadable", row=row["_id"], kind=type(error).__name__)
            return ""


def _standing(now: datetime) -> Document:
    # The sweeper is late by a minute or more.
    return {"expiresAt": {"$not": {"$lte": now}}}
