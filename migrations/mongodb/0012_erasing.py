"""The index by which what SendDirect was given is erased in time."""

from __future__ import annotations

from typing import Any

BYTEWISE = {"locale": "simple"}


async def up(database: Any) -> None:
    await database.deliveries.create_index(
        [("eraseAt", 1)], name="erase", partialFilterExpression={"eraseAt": {"$exists": True}}, collation=BYTEWISE
    )


async def down(database: Any) -> None:
    await database.deliveries.drop_index("erase")
