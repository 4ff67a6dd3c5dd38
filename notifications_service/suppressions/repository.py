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
from notifications_service.mongodb import newest_first
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.newest_first import RowKey
from notifications_service.notification import schema
from notifications_service.notification.filters import BoundTime
from notifications_service.notification.schema import SUPPRESSIONS_INDEX
from notifications_service.suppressions.model import Suppression, SuppressionFilter, SuppressionReason

Reasons = frozenset[SuppressionReason]

_ALL: Final = frozenset(SuppressionReason)
# More than an address has.
_MANY: Final = 100


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
        if not wanted:
            return found
        query = _standing(now) | {"_id": {"$in": list(wanted)}}
        for row in await self._found(query, "_id_", limit=len(wanted), projection={"reason": 1}):
            address, reason = wanted[row["_id"]], SuppressionReason(row["reason"])
            found[address] = found.get(address, frozenset()) | {reason}
        return found

    @named
    async def page(
        self, chosen: SuppressionFilter, after: RowKey | None, now: datetime, limit: int
    ) -> list[tuple[RowKey, Suppression]]:
        """Return up to ``limit`` suppressions that match, newest first, after the key ``after``."""
        query = newest_first.go_on(self._query(chosen, now), after)
        if chosen.address:
            # A handful, found by their ids.
            found = await self._found(query, "_id_")
            rows: Sequence[Document] = sorted(found, key=newest_first.key_of, reverse=True)[:limit]
        else:
            rows = await self._found(query, SUPPRESSIONS_INDEX, limit=limit, sort=newest_first.ORDER)
        return [(newest_first.key_of(row), self._read(row, chosen.address)) for row in rows]

    @named
    async def count(self, chosen: SuppressionFilter, now: datetime) -> int:
        """Return how many suppressions match."""
        pipeline: list[Any] = [{"$match": self._query(chosen, now)}, {"$count": "n"}]
        hint = "_id_" if chosen.address else SUPPRESSIONS_INDEX
        found = await self._database.aggregate(schema.SUPPRESSIONS, pipeline, hint=hint)
        return sum(row["n"] for row in found.rows)

    @named
    async def put_in(self, session: ClientSession, new: Suppression, hashed: bytes = b"") -> bool:
        """Begin or renew a suppression within a transaction of the caller's; say whether it did.

        What began at the same time or later is left as it is, so a report that comes twice changes nothing.
        ``hashed``: stands for an address that nobody knows any longer.
        """
        keys = self._keys(new.address, [new.reason]) if new.address else [_key(new.reason, hashed)]
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
    async def delete(
        self, address: str, reasons: Iterable[SuppressionReason], now: datetime, before: BoundTime | None = None
    ) -> int:
        """Take an address off the list, for these reasons; return how many suppressions it had for them.

        ``before``: only those that began then, or were last renewed.
        """
        query: Document = {"_id": {"$in": self._keys(address, reasons)}} | _standing(now)
        if before is not None:
            query["createdAt"] = {"$lt": before}
        result = await self._database.run(lambda: self._rows.delete_many(query, collation=BYTEWISE), query)
        return result.deleted_count

    @named
    async def after(self, last: str, limit: int) -> Sequence[Document]:
        """Return rows by their ids, after one."""
        return await self._found({"_id": {"$gt": last}}, "_id_", limit=limit, sort={"_id": 1})

    @named
    async def reseal(self, id_: str) -> bool:
        """Put a row under the newest key, as it is by now; say whether it was under an older one.

        Raises KeyMissing or CiphertextInvalid.
        """

        async def work(session: ClientSession) -> bool:
            row = await self._rows.find_one({"_id": id_}, hint="_id_", session=session)
            if row is None or "address" not in row:
                return False
            address = self._cipher.decrypt(bytes(row["address"]), id_.encode()).decode()
            key = self._keys(address, [SuppressionReason(row["reason"])])[0]
            if key == id_:
                return False
            await self._rows.delete_many({"_id": id_}, session=session)
            # One that was renewed meanwhile is there already.
            if await self._rows.find_one({"_id": key}, hint="_id_", session=session) is None:
                await self._rows.insert_one(row | {"_id": key, "address": self._sealed(address, key)}, session=session)
            return True

        return await self._database.transaction(work)

    async def _found(self, query: Document, hint: str, *, limit: int = _MANY, **options: Any) -> Sequence[Document]:
        return (await self._database.find(schema.SUPPRESSIONS, query, limit=limit, hint=hint, **options)).rows

    def _query(self, chosen: SuppressionFilter, now: datetime) -> Document:
        query = _standing(now)
        if chosen.address:
            query["_id"] = {"$in": self._keys(chosen.address, chosen.reasons)}
        elif chosen.reasons != _ALL:
            query["reason"] = {"$in": sorted(chosen.reasons)}
        created = {"$gte": chosen.created_from, "$lt": chosen.created_before}
        if bounds := {name: bound for name, bound in created.items() if bound is not None}:
            query["createdAt"] = bounds
        return query

    def _keys(self, address: str, reasons: Iterable[SuppressionReason]) -> list[str]:
        """Return the ids that rows of an address may have: of each reason, under each key, the newest first."""
        hashes = self._hashes.each_of(address)
        return [_key(reason, each) for reason in reasons for each in hashes]

    def _row(self, key: str, new: Suppression) -> Document:
        row = {"_id": key, "reason": new.reason.value, "createdAt": new.created_at}
        optional = {
            "address": self._sealed(new.address, key) if new.address else b"",
            "deliveryId": new.delivery_id,
            "detail": new.detail,
            "expiresAt": new.expires_at,
        }
        return row | {name: value for name, value in optional.items() if value}

    def _sealed(self, address: str, key: str) -> Binary:
        return Binary(self._cipher.encrypt(normalized(address).encode(), key.encode()))

    def _read(self, row: Document, asked_for: str) -> Suppression:
        return Suppression(
            normalized(asked_for) or self._opened(row),
            SuppressionReason(row["reason"]),
            row["createdAt"],
            row.get("deliveryId", ""),
            row.get("detail", ""),
        )

    def _opened(self, row: Document) -> str:
        if "address" not in row:
            return ""
        try:
            return self._cipher.decrypt(bytes(row["address"]), row["_id"].encode()).decode()
        except (KeyMissing, CiphertextInvalid) as error:
            logging.get(__name__).error("suppressed address unreadable", row=row["_id"], kind=type(error).__name__)
            return ""


def _key(reason: SuppressionReason, hashed: bytes) -> str:
    return f"{reason}:{tokentext.write(hashed)}"


def _standing(now: datetime) -> Document:
    # The sweeper is late by a minute or more.
    return {"expiresAt": {"$not": {"$lte": now}}}
