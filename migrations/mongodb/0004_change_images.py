"""Images of changed and deleted notifications: a watch learns from them whose notification was deleted."""

from __future__ import annotations

from typing import Any


async def up(database: Any) -> None:
    await database.command("collMod", "notifications", changeStreamPreAndPostImages={"enabled": True})


async def down(database: Any) -> None:
    await database.command("collMod", "notifications", changeStreamPreAndPostImages={"enabled": False})
