"""Digests of a batch: what is due for one is put together, and what each of them has to say is read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NoReturn

from chassis.background import repeat
from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.delivery.facts import DigestContent, Facts, FactSources
from notifications_service.delivery.leased import Leased
from notifications_service.delivery.rules import DeliveryRules, End, Join
from notifications_service.mongodb.codec import Document
from notifications_service.outbox import changes
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.model import Kind, Reason

# Notifications that a mail tells; it says how many more there are.
SHOWN: Final = 50
# Items that are read, or left out, at a time.
PAGE: Final = 500
# What a digest tells of a notification, and what decides whether it does.
_FIELDS: Final = dict.fromkeys(
    ("title", "message", "category", "critical", "read", "email.unlessRead", "createdAt", "expiresAt"), 1
)

# Seconds between two looks at what has still to follow, at most.
EVERY: Final = 10.0

log = logging.get(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch whose digests are put together: the rows to go on with, and all facts about them.

    ``failed``: rows whose digests cannot be put together.
    """

    rows: Sequence[Document]
    facts: Facts
    failed: Collection[str] = ()
    has_digests: bool = False


class Digesting:
    """Puts digests together."""

    def __init__(self, sources: FactSources, rules: DeliveryRules) -> None:
        self._stored = sources.digests
        self._notifications = sources.notifications
        self._rules = rules
        self._clock = sources.clock

    async def prepare(self, batch: Leased, facts: Facts) -> Prepared:
        """Put together the digests that rows of a batch belong to. Raises DatabaseUnavailable and the like."""
        now = self._clock()
        joining = [row["_id"] for row in batch.rows if row.get("gathering") or self._joins(row, facts, now)]
        digests = [row for row in batch.rows if _is_digest(row) and not row.get("gathering")]
        if not joining and not digests:
            return Prepared(batch.rows, facts)
        ready, failed = await self._gathered(batch, joining)
        digests += ready
        left = [row for row in batch.rows if not _is_digest(row) and row["_id"] in batch.in_hand]
        contents = await self._contents(digests)
        return Prepared([*left, *digests], replace(facts, digests=contents), failed, has_digests=True)

    async def follow(self) -> None:
        """Bring the items of large digests to the states of these; what is left is left to the next who looks."""
        try:
            await self._stored.catch_up()
        except ServiceError as error:
            log.warning("items of digests do not follow yet", reason=error.reason)

    def _joins(self, row: Document, facts: Facts, now: datetime) -> bool:
        if row["kind"] != Kind.NOTIFICATION.value:
            return False
        try:
            return isinstance(self._rules.judge(row, facts, now), Join)
        except Exception:  # noqa: BLE001 - whoever judges it by itself hears of it, and logs it
            return False

    async def _gathered(self, batch: Leased, joining: Sequence[str]) -> tuple[list[Document], Collection[str]]:
        """Put items into their digests; return those that are complete, and the rows with which that failed."""
        if not joining:
            return [], ()
        try:
            return await self._gather(batch, joining), ()
        except ServiceError:
            raise
        except Exception:
            log.exception("digests not put together", digests=len(joining))
        # What is wrong with one is not the others' trouble.
        ready, failed = list[Document](), set[str]()
        for key in joining:
            try:
                ready += await self._gather(batch, [key])
            except ServiceError:
                raise
            except Exception:  # noqa: BLE001 - the first one is in the log
                failed.add(key)
        return ready, failed

    async def _gather(self, batch: Leased, joining: Sequence[str]) -> list[Document]:
        ready = list[Document]()
        left = joining
        while left:
            found = await self._stored.gather(batch.lease, left, batch.length)
            ready += found.ready
            batch.take([*(row["_id"] for row in found.ready), *found.unfinished])
            for key in set(left) - {row["_id"] for row in found.ready} - set(found.unfinished):
                batch.done(key)
            left = found.unfinished
        return ready

    async def _contents(self, digests: Sequence[Document]) -> dict[str, DigestContent]:
        """Read what digests have to say, and leave out what they are not to say any more."""
        sifting = {row["_id"]: _Sifting(row) for row in digests}
        beyond, now = "", self._clock()
        while sifting:
            items = await self._stored.items_of(list(sifting), beyond, PAGE)
            if items:
                await self._sift(sifting, items, now)
            if len(items) < PAGE:
                break
            beyond = items[-1]["_id"]
        return {key: each.content() for key, each in sifting.items()}

    async def _sift(self, sifting: Mapping[str, _Sifting], items: Sequence[Document], now: datetime) -> None:
        keys = sorted({item["notificationId"] for item in items})
        users = {digest.user_id for digest in sifting.values()}
        notifications = await self._notifications.get_many(keys, _FIELDS, users=users)
        out: dict[str, Callable[[Document], Mapping[str, Any]]] = {}
        for item in items:
            digest, found = sifting[item["digestDeliveryId"]], notifications.get(item["notificationId"])
            if (end := self._rules.left_out(item, found, now)) is not None:
                digest.left = end.reason
                out[item["_id"]] = _ended(end, now)
            elif found is not None and digest.tells(found):
                digest.keep(found)
            else:
                # An update has made it something else, which goes by itself.
                out[item["_id"]] = _by_itself(now)
        if out:
            await self._stored.leave_out(out)


class _Sifting:
    """What is known so far of what a digest has to say."""

    def __init__(self, row: Document) -> None:
        self.user_id = row["userId"]
        self._category = row.get("category", "")
        self._newest: list[Document] = []
        self._total = 0
        self.left: Reason | None = None

    def tells(self, notification: Document) -> bool:
        """Say whether a notification is one of this digest's."""
        return notification.get("category", "") == self._category and not notification.get("critical")

    def keep(self, notification: Document) -> None:
        """Add a notification; they come in the order in which they were created, about."""
        self._total += 1
        self._newest.append(notification)
        if len(self._newest) > 2 * SHOWN:
            self._newest = _newest(self._newest)

    def content(self) -> DigestContent:
        """Return what there is to say."""
        return DigestContent(_newest(self._newest), self._total, self.left)


def _newest(notifications: Sequence[Document]) -> list[Document]:
    return sorted(notifications, key=lambda each: (each["createdAt"], each["_id"]), reverse=True)[:SHOWN]


def _is_digest(row: Document) -> bool:
    return bool(row["kind"] == Kind.DIGEST.value)


def _ended(end: End, now: datetime) -> Callable[[Document], Mapping[str, Any]]:
    return lambda _: changes.final(end.state, end.reason, now)


def _by_itself(now: datetime) -> Callable[[Document], Mapping[str, Any]]:
    return lambda row: changes.pending(now, None, row.get("expiresAt")) | {"lane": None}


async def keep_following(stored: DigestRepository) -> NoReturn:
    """Bring items to the states of their digests, for ever, where whoever began with it could not go on."""
    # Processes that start together look at different times.
    await repeat("digests", stored.catch_up, lambda: asyncio.sleep(EVERY * random.random()))  # noqa: S311
