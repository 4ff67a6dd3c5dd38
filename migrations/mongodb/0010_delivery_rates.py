"""The tokens by which a whole fleet of workers keeps to the rate of a channel: a row for each."""

from __future__ import annotations

from typing import Any


async def up(database: Any) -> None:
    if "delivery_rates" not in await database.list_collection_names():
        await database.create_collection("delivery_rates")


async def down(database: Any) -> None:
    await database.drop_collection("delivery_rates")
