"""The rate limiter: attempts per account and per client address, in fixed windows counted in MySQL."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.errors import RateLimited
from chassis.keyring import Keyring, Mac
from users_service.attempts import repository
from users_service.attempts.actions import Action
from users_service.attempts.repository import Counter
from users_service.attempts.settings import AttemptSettings
from users_service.errors import NOT_HASHED
from users_service.mysql.database import Database

IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """An action and who attempts it; one with an empty ``value`` is not counted."""

    action: Action
    kind: str
    value: str

    @property
    def scope(self) -> str:
        """The scope of the counter: the action, and whether an address or an account attempts it."""
        return f"{self.action.name}:{repository.ADDRESS if self.kind == 'address' else repository.ACCOUNT}"

    @property
    def counted(self) -> bytes:
        """What the counter is kept under, before it is keyed."""
        # No purpose holds a NUL, so the first one is its end.
        parts = (self.action.purpose, self.value) if self.action.purpose else (self.value,)
        return "\0".join(parts).encode()


def account(action: Action, value: str) -> Subject:
    """Name an account, by its normalised email or its user's id, whether or not it exists."""
    return Subject(action, "account", value)


def address(action: Action, ip_address: str) -> Subject:
    """Name a client address. An IPv6 address counts as its /64, all of which belongs to one client."""
    return Subject(action, "address", _network(ip_address))


def _network(ip_address: str) -> str:
    if not ip_address:
        return ""
    parsed = ipaddress.ip_address(ip_address.partition("%")[0])
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK), strict=False))
    return str(parsed.ipv4_mapped if parsed.version == 6 else parsed)


class Attempts:
    """Counts attempts before they are made, so that concurrent attempts cannot exceed the limit.

    The counters are shared by all processes. They are kept under a keyed hash, so that the table names nobody.
    """

    def __init__(self, database: Database, mac: Mac, *, window: timedelta, per_account: int, per_address: int) -> None:
        """``mac``: the keyed hash; ``per_account``, ``per_address``: attempts allowed within a ``window``."""
        self._database = database
        self._mac = mac
        self._window = window
        self._limits = {"account": per_account, "address": per_address}

    @classmethod
    def of(cls, database: Database, keyring: Keyring, settings: AttemptSettings) -> Attempts:
        """Make the limiter that the settings describe."""
        return cls(
            database,
            keyring.mac("attempts"),
            window=timedelta(milliseconds=settings.attempts_window_ms),
            per_account=settings.attempts_per_account,
            per_address=settings.attempts_per_address,
        )

    async def claim(self, subjects: Sequence[Subject], now: datetime) -> None:
        """Count one attempt for each subject, before it is made.

        Raises RateLimited, with the time until the window ends, when one of them has no attempt left. Then nothing is
        counted, so that an address at its limit cannot use up the attempts of accounts.
        """
        counters = self.counters(subjects)
        if counters:
            await self._database.transaction(lambda connection: self.count(connection, counters, now))

    async def count(self, connection: AsyncConnection, counters: Sequence[Counter], now: datetime) -> None:
        """Do as ``claim`` does, in the caller's transaction, which must commit before the attempt is made."""
        if not counters or await repository.increment(connection, counters, now, now + self._window):
            return
        counter, ends = await repository.exceeded(connection, counters) or (counters[0], now)
        raise RateLimited(counter.kind, counter.limit, self._window, retry_after=self._wait(ends, now))

    @asynccontextmanager
    async def making(self, counters: Sequence[Counter]) -> AsyncIterator[None]:
        """Take the counted attempt back where the block could not hash or verify a password.

        Otherwise callers who retry as they are told would use up an account's attempts while the service cannot hash.
        """
        try:
            yield
        except NOT_HASHED:
            await self.take_back(counters)
            raise

    async def take_back(self, counters: Sequence[Counter]) -> None:
        """Take the last attempt back on each, in a transaction of its own."""
        if counters:
            await self._database.transaction(lambda connection: repository.settle(connection, counters, counters))

    async def clear(self, connection: AsyncConnection, subjects: Sequence[Subject]) -> None:
        """Forget, after a success, all attempts of the accounts and the last one of the addresses."""
        await self.settle(connection, self.counters(subjects))

    async def settle(self, connection: AsyncConnection, counters: Sequence[Counter]) -> None:
        """Do as ``clear`` does, with counters."""
        if counters:
            kept = [counter for counter in counters if counter.kind == "address"]
            await repository.settle(connection, counters, kept)

    def counters(self, subjects: Sequence[Subject]) -> list[Counter]:
        """Return the subjects' counters in the order of their key, in which all transactions lock them."""
        named = [subject for subject in subjects if subject.value]
        counters = [
            Counter(subject.scope, self._mac.sign(subject.counted), self._limits[subject.kind]) for subject in named
        ]
        return sorted(counters, key=lambda counter: (counter.scope, counter.subject))

    def _wait(self, ends: datetime, now: datetime) -> timedelta:
        # The clocks of processes may differ, so the time is kept between a second and a window.
        return min(max(ends - now, timedelta(seconds=1)), self._window)
