"""Commits that somebody waits to hear of: work notes a topic on its connection, and listeners are told afterwards.

It is a hint within this process and costs no round trip; who must not miss anything looks by itself, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.mysql.compiled import StandIn

# The key of a pooled connection's ``info``.
_NOTED: Final = "noted"


def note(connection: AsyncConnection | StandIn, topic: str) -> None:
    """Let those be told who listen to a topic, once this transaction has committed."""
    if isinstance(connection, AsyncConnection):
        _info(connection).setdefault(_NOTED, set()).add(topic)


class Commits:
    """Who listens to the commits of a process."""

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Callable[[], None]]] = []

    def listen(self, topic: str, told: Callable[[], None]) -> None:
        """Call ``told`` after each commit of a transaction that noted the topic."""
        self._listeners.append((topic, told))

    def begin(self, connection: AsyncConnection) -> None:
        """Forget what a transaction noted that was rolled back."""
        _info(connection).pop(_NOTED, None)

    def committed(self, connection: AsyncConnection) -> None:
        """Tell those who listen to what the transaction noted."""
        noted = _info(connection).pop(_NOTED, ())
        for topic, told in self._listeners:
            if topic in noted:
                told()


def _info(connection: AsyncConnection) -> dict[Any, Any]:
    return cast("Connection", connection.sync_connection).info
