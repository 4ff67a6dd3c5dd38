"""The users service without events of users: what `event_bench` compares it with."""

from __future__ import annotations

from typing import Any

from chassis.commands.entry import start
from users_service.events import repository


class _Silent:
    """Writes nothing where an event would be written."""

    async def on(self, *_: Any) -> None:
        """Do nothing."""


if __name__ == "__main__":
    # What is recorded is also noted, so that it gets its number at once.
    for name, value in {"_INSERT": _Silent(), "note": lambda *_: None}.items():
        setattr(repository, name, value)
    start("users_service")
