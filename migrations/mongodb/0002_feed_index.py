"""The index that serves the feed: lists in order of their keys, counts without reading a document."""

from __future__ import annotations

from typing import Any

KEYS = [
    ("userId", 1),
    ("createdAt", -1),
    ("_id", -1),
    ("archived", 1),
    ("read", 1),
    ("seen", 1),
    ("type", 1),
    ("category", 1),
]


async def up(database: Any) -> None:
    await database.notifications.create_index(KEYS, name="feed")


async def down(database: Any) -> None:
    await database.notifications.drop_index("feed")
