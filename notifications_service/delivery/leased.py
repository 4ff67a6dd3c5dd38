"""A batch of deliveries under one lease: which of them are in hand still, and until when the lease holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final, NoReturn
from uuid import uuid4

from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.mongodb.codec import Document
from notifications_service.outbox.model import Lane
from notifications_service.outbox.repository import Admit, OutboxRepository

# A lease is renewed after this part of its length.
_RENEWED_AFTER: Final = 1 / 3
# By how much the clocks of two workers may differ: the end of a lease is a time by the clock of who took it. Of a short
# lease it is this part at most.
CLOCKS_APART: Final = timedelta(seconds=5)
_MOST_APART: Final = 1 / 6

log = logging.get(__name__)


class Leased:
    """What one claim took. The lease counts by a clock that goes on while the process is stopped."""

    def __init__(self, outbox: OutboxRepository, channel: str, length: timedelta, lane: Lane | None = None) -> None:
        self.lease: Final = uuid4().hex
        self.rows: Sequence[Document] = ()
        self.in_hand: set[str] = set()
        # Whose the rows are; what is made under this lease is theirs, too.
        self._users: set[str | None] = set()
        # Those on which nothing was tried when the worker was told to stop.
        self.unsent: set[str] = set()
        # Those on which an attempt has begun, whatever became of it.
        self._begun: set[str] = set()
        self._outbox = outbox
        self._channel = channel
        self._length = length
        self._lane = lane
        self._holds_until = 0.0

    async def claim(self, limit: int, admit: Admit | None, *, newest: bool = False) -> bool:
        """Take up to so many rows, as far as they are admitted; say whether there were any."""
        self._hold()
        self.rows = await self._outbox.claim(
            self._channel, self.lease, limit, self._length, admit=admit, lane=self._lane, newest=newest
        )
        self.in_hand = {row["_id"] for row in self.rows}
        self._users = {row.get("userId") for row in self.rows}
        return bool(self.rows)

    @property
    def length(self) -> timedelta:
        """How long the lease lasts, from when it was taken or renewed."""
        return self._length

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken what is in hand, where clocks agree."""
        return monotonic() < self._holds_until

    @property
    def may_begin(self) -> bool:
        """Whether an attempt that begins now ends before anybody else can take its delivery, though clocks differ."""
        length = self._length.total_seconds()
        margin = min(CLOCKS_APART.total_seconds(), length * _MOST_APART)
        return monotonic() + self.seconds + margin < self._holds_until

    @property
    def seconds(self) -> float:
        """How long one attempt may take, so that it ends before the lease does."""
        return self._length.total_seconds() * _RENEWED_AFTER

    def take(self, keys: Iterable[str]) -> None:
        """Take in hand what was made under this lease."""
        self.in_hand |= set(keys)

    @property
    def untried(self) -> set[str]:
        """What is in hand and has not come to an attempt."""
        return self.in_hand - self._begun

    def begin(self, key: str) -> None:
        """Note that an attempt begins: from now on the row is not given back."""
        self._begun.add(key)
        self.unsent.discard(key)

    def done(self, key: str) -> None:
        """Put a row out of hand."""
        self.in_hand.discard(key)

    async def keep(self) -> NoReturn:
        """Renew the lease, for ever."""
        while True:
            await asyncio.sleep(self._length.total_seconds() * _RENEWED_AFTER)
            started = monotonic()
            try:
                await self._outbox.renew(self.lease, list(self.in_hand), self._length, self._users)
            except ServiceError as error:
                log.warning("lease not renewed", channel=self._channel, reason=error.reason)
            else:
                self._holds_until = max(self._holds_until, started + self._length.total_seconds())

    async def give_back(self) -> None:
        """Release what nothing was tried on. Where the database is away, the lease runs out by itself."""
        if not self.unsent:
            return
        try:
            await self._outbox.release(self.lease, list(self.unsent), self._users)
        except ServiceError as error:
            log.warning("deliveries not given back", channel=self._channel, reason=error.reason)

    def _hold(self) -> None:
        self._holds_until = monotonic() + self._length.total_seconds()
