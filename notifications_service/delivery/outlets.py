"""The channels as the worker uses them: from a delivery and its facts to messages, targets and their breakers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from chassis.batching.coalesce import Coalescer
from chassis.errors import ServiceError
from chassis.logs import logging
from chassis.peers.breaker import CircuitBreaker, CircuitOpen
from notifications_service.addresses import AddressHashes, masked
from notifications_service.clock import MillisecondClock
from notifications_service.delivery.channels.channel import MailSender, Outcome, PushMessage, PushSender
from notifications_service.delivery.channels.sandbox import TemplateFailed
from notifications_service.delivery.composing import MailMaker
from notifications_service.delivery.facts import Facts
from notifications_service.delivery.rules import SendNow
from notifications_service.delivery.settling import ACCEPTED, Try
from notifications_service.notification.documents import Type
from notifications_service.outbox.direct import SealBroken
from notifications_service.outbox.model import Reason
from notifications_service.push_subscriptions.model import PushTarget

# Push services whose breakers are kept; browsers know a handful.
_PROVIDERS: Final = 1_000
_LONGEST_TTL: Final = timedelta(days=28)
_GONE: Final = frozenset({Reason.SUBSCRIPTION_GONE})
# Subscriptions that are noted as used by one write.
_NOTED: Final = 100

log = logging.get(__name__)


class Outlet(Protocol):
    """One channel."""

    channel: str
    # Deliveries that are sent at a time.
    concurrency: int
    # Whether users may have it several at once.
    has_digests: bool

    @property
    def most(self) -> int | None:
        """How many deliveries to take now; None: as many as ever, 0: none, the far end is away."""
        ...

    async def send(self, row: Mapping[str, Any], judged: SendNow, facts: Facts, seconds: float) -> Sequence[Try]:
        """Send a delivery to each of its targets that has not accepted it before."""
        ...

    async def note(self, tries: Sequence[Try]) -> None:
        """Keep what attempts tell of targets; the next ones go on meanwhile."""
        ...


class Subscriptions(Protocol):
    """Push subscriptions, as changed here."""

    async def remove(self, ids: Collection[str]) -> None:
        """Delete subscriptions that their push services no longer know."""
        ...

    async def used(self, ids: Collection[str], at: datetime) -> None:
        """Note that push services accepted messages for these at ``at``."""
        ...


class EmailOutlet:
    """Email: one target, and one relay for all."""

    channel = Type.EMAIL.value
    has_digests = True

    def __init__(
        self,
        sender: MailSender,
        maker: MailMaker,
        hashes: AddressHashes,
        clock: MillisecondClock,
        *,
        concurrency: int,
    ) -> None:
        self.concurrency = concurrency
        self.breaker = CircuitBreaker()
        self._sender = sender
        self._maker = maker
        self._hashes = hashes
        self._clock = clock

    @property
    def most(self) -> int | None:
        """How many deliveries to take now: one, to see whether the relay is back, after it was away."""
        if self.breaker.is_open:
            return 0
        return 1 if self.breaker.is_probing else None

    async def send(self, row: Mapping[str, Any], judged: SendNow, facts: Facts, seconds: float) -> Sequence[Try]:
        """Send a mail to the user's address."""
        started, address = self._clock(), judged.user.email
        try:
            mail = self._maker.mail(row, judged, facts)
        except TemplateFailed:
            # Another version of the template may do.
            outcome: Outcome | None = Outcome(Reason.TEMPLATE)
        except SealBroken:
            outcome = Outcome(Reason.KEY_GONE, final=True)
        else:
            outcome = await _guarded(self.breaker, lambda: self._sender.send(mail, seconds))
        return [Try(outcome, started, self._clock(), masked(address), self._hashes.of(address))]

    async def note(self, _: Sequence[Try]) -> None:
        """Keep nothing: an address that takes no mails is told by its outcome."""


class PushOutlet:
    """Push: every subscription of the user, each at its own push service."""

    channel = Type.PUSH.value
    has_digests = False

    def __init__(
        self, sender: PushSender, subscriptions: Subscriptions, clock: MillisecondClock, *, concurrency: int
    ) -> None:
        self.concurrency = concurrency
        self._sender = sender
        self._subscriptions = subscriptions
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}
        self._used: Coalescer[str, None] = Coalescer(self._note_used, max_batch=_NOTED, max_in_flight=1)

    @property
    def most(self) -> int | None:
        """How many deliveries to take now: as many as ever, since each push service stands for itself."""
        return None

    async def send(self, row: Mapping[str, Any], judged: SendNow, facts: Facts, seconds: float) -> Sequence[Try]:
        """Send a message to each subscription."""
        message = _push_message(row, judged.notification, self._clock())
        done = row.get(ACCEPTED, ())
        targets = [each for each in facts.subscriptions[judged.user.id] if each.id not in done]
        return await asyncio.gather(*(self._to(target, message, seconds) for target in targets))

    async def note(self, tries: Sequence[Try]) -> None:
        """Remove subscriptions that are gone, and note those that took the message; the next message tells it anew."""
        gone = [each.subscription_id for each in tries if each.outcome and each.outcome.reason in _GONE]
        used = [self._used.get(each.subscription_id) for each in tries if each.is_accepted]
        try:
            if gone:
                await self._subscriptions.remove(gone)
            await asyncio.gather(*used)
        except ServiceError as error:
            log.warning("subscriptions not noted", reason=error.reason)

    async def _note_used(self, ids: list[str]) -> Mapping[str, None]:
        """Note those that took a message at about the same time by one write."""
        await self._subscriptions.used(ids, self._clock())
        return {}

    async def _to(self, target: PushTarget, message: PushMessage, seconds: float) -> Try:
        started = self._clock()
        breaker = self._breaker(target.provider)
        outcome = await _guarded(breaker, lambda: self._sender.send(message, target, seconds))
        return Try(outcome, started, self._clock(), subscription_id=target.id)

    def _breaker(self, provider: str) -> CircuitBreaker:
        found = self._breakers.pop(provider, None) or CircuitBreaker()
        self._breakers[provider] = found
        while len(self._breakers) > _PROVIDERS:
            del self._breakers[next(iter(self._breakers))]
        return found


async def _guarded(breaker: CircuitBreaker, send: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
    """Send behind a breaker; None: it is open, and nothing was tried."""
    try:
        breaker.before()
    except CircuitOpen:
        return None
    outcome = await send()
    if outcome.blames_provider:
        breaker.failed()
    else:
        breaker.succeeded()
    return outcome


def _push_message(row: Mapping[str, Any], notification: Mapping[str, Any], now: datetime) -> PushMessage:
    given = notification.get("push", {})
    ttl = timedelta(seconds=given["ttl"]) if "ttl" in given else _LONGEST_TTL
    if (expires := notification.get("expiresAt")) is not None:
        ttl = min(ttl, expires - now)
    return PushMessage(
        row["_id"],
        str(notification["_id"]),
        given.get("title") or notification["title"],
        given.get("body") or notification["message"],
        given.get("url", ""),
        given.get("icon", ""),
        ttl,
        notification.get("urgency", "normal"),
        row.get("collapseKey", ""),
    )
