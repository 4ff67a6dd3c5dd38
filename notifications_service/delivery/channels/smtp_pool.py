"""Connections to a relay that mails share: at most so many, reused the last one first, closed when idle or old."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from notifications_service.delivery.channels.settings import RelaySettings
from notifications_service.delivery.channels.smtp_connection import MailConnection, MailRelay, Progress


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: MailConnection
    since: float


class MailPool:
    """Hands out connections, each to one mail at a time. Used from one event loop."""

    def __init__(self, relay: MailRelay, settings: RelaySettings) -> None:
        self._relay = relay
        self._most_mails: Final = settings.smtp_messages_per_connection
        self._idle_seconds: Final = settings.smtp_idle_ms / 1000
        self._free = asyncio.Semaphore(settings.smtp_connections)
        self._idle: deque[_Idle] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def acquire(self) -> None:
        """Wait for a turn; followed by ``release``."""
        await self._free.acquire()

    def release(self) -> None:
        """End a turn."""
        self._free.release()

    def reusable(self) -> MailConnection | None:
        """Return a connection that was used before, in a turn; None where there is none."""
        while self._idle:
            connection = self._idle.pop().connection
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def fresh(self, progress: Progress) -> MailConnection:
        """Return a new connection, in a turn. Raises what ``MailRelay.connect`` raises."""
        return await self._relay.connect(progress)

    def keep(self, connection: MailConnection) -> None:
        """Keep a connection for others, unless it has served."""
        if self._closed or not connection.is_usable or connection.sent >= self._most_mails:
            connection.close()
            return
        self._idle.append(_Idle(connection, asyncio.get_running_loop().time()))
        self._watch()

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is given back."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self.close_idle()

    def close_idle(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().connection.close()

    def _watch(self) -> None:
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_at(self._idle[0].since + self._idle_seconds, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        due = asyncio.get_running_loop().time() - self._idle_seconds
        while self._idle and self._idle[0].since <= due:
            self._idle.popleft().connection.close()
        if self._idle:
            self._watch()
