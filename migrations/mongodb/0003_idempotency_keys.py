"""What creates with a `request_id` answered, kept for a day (AIP-155)."""

from __future__ import annotations

from typing import Any

ONE_DAY = 86_400


async def up(database: Any) -> None:
    # Made here: a collection that a transaction has to make itself costs it a lock.
    if "idempotency_keys" not in await database.list_collection_names():
        await database.create_collection("idempotency_keys")
    await database.idempotency_keys.create_index([("createdAt", 1)], expireAfterSeconds=ONE_DAY)


async def down(database: Any) -> None:
    await database.drop_collection("idempotency_keys")
