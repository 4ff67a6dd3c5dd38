"""A batch of deliveries under one lease: which of them are in hand still, and until when the lease holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Final, NoReturn
from uuid import uuid4

from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.mongodb.codec import Document
from notifications_service.outbox.repository import Admit, OutboxRepository

# A lease is renewed after this part of its length.
_RENEWED_AFTER: Final = 1 / 3

log = logging.get(__name__)


class Leased:
    """What one claim took. The lease counts by a clock that goes on while the process is stopped."""

    def __init__(self, outbox: OutboxRepository, channel: str, length: timedelta) -> None:
        self.lease: Final = uuid4().hex
        self.rows: Sequence[Document] = ()
        self.in_hand: set[str] = set()
        # Those on which nothing was tried when the worker was told to stop.
        self.unsent: set[str] = set()
        self._outbox = outbox
        self._channel = channel
        self._length = length
        self._holds_until = 0.0
        self._fewer = asyncio.Event()

    async def claim(self, limit: int, admit: Admit | None) -> bool:
        """Take up to so many rows, as far as they are admitted; say whether there were any."""
        self._hold()
        self.rows = await self._outbox.claim(self._channel, self.lease, limit, self._length, admit)
        self.in_hand = {row["_id"] for row in self.rows}
        return bool(self.rows)

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken what is in hand."""
        return monotonic() < self._holds_until

    @property
    def seconds(self) -> float:
        """How long one attempt may take, so that it ends before the lease does."""
        return self._length.total_seconds() * _RENEWED_AFTER

    def done(self, key: str) -> None:
        """Put a row out of hand."""
        self.in_hand.discard(key)
        self._fewer.set()

    async def at_most(self, number: int) -> None:
        """Wait until so few are in hand."""
        while len(self.in_hand) > number:
            self._fewer.clear()
            await self._fewer.wait()

    async def keep(self) -> NoReturn:
        """Renew the lease, for ever."""
        while True:
            await asyncio.sleep(self._length.total_seconds() * _RENEWED_AFTER)
            started = monotonic()
            try:
                await self._outbox.renew(self.lease, list(self.in_hand), self._length)
            except ServiceError as error:
                log.warning("lease not renewed", channel=self._channel, reason=error.reason)
            else:
                self._holds_until = max(self._holds_until, started + self._length.total_seconds())

    async def give_back(self) -> None:
        """Release what nothing was tried on. Where the database is away, the lease runs out by itself."""
        if not self.unsent:
            return
        try:
            await self._outbox.release(self.lease, list(self.unsent))
        except ServiceError as error:
            log.warning("deliveries not given back", channel=self._channel, reason=error.reason)

    def _hold(self) -> None:
        self._holds_until = monotonic() + self._length.total_seconds()
