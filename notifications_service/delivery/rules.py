"""The rules by which a claimed delivery is sent, ended or put off; they read facts, and touch nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from notifications_service.addresses import normalized
from notifications_service.delivery.facts import EMAIL, Facts
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox.model import Deferral, Kind, Reason
from notifications_service.preferences import decision
from notifications_service.preferences.decision import Question
from notifications_service.preferences.model import Category, Preferences
from notifications_service.suppressions.model import SuppressionReason
from notifications_service.users_client import Addressee

# Pauses after failed attempts double from the first to the longest, each drawn between nothing and itself.
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=4)
# How long to wait for something that is away, about: no attempt is counted meanwhile.
AWAY: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class SendNow:
    """Send it now, to this user, what the notification says."""

    notification: Mapping[str, Any]
    user: Addressee


@dataclass(frozen=True, slots=True)
class End:
    """It is not to be sent."""

    state: DeliveryState
    reason: Reason


@dataclass(frozen=True, slots=True)
class Wait:
    """Look at it again then."""

    until: datetime
    deferral: Deferral


@dataclass(frozen=True, slots=True)
class Join:
    """It goes with a digest that is due."""


Judgement: TypeAlias = SendNow | End | Wait | Join


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The rules of one channel; ``attempts``: how often sending is tried; ``unverified``: whether mails go there."""

    channel: str
    attempts: int
    unverified: bool = False

    def judge(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about a row that was claimed at ``now``. Raises LookupError for a user who cannot be read."""
        return self._of_kind[row["kind"]](row, facts, now)

    @property
    def _of_kind(self) -> Mapping[str, Callable[[Mapping[str, Any], Facts, datetime], Judgement]]:
        return {
            Kind.NOTIFICATION.value: self._notified,
            Kind.DIGEST.value: self._digest,
            Kind.DIRECT.value: self._direct,
        }

    def _notified(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about a notification."""
        notification = facts.notifications.get(row["notificationId"])
        if notification is None or _is_over(notification.get("expiresAt"), now):
            return _gone(row, notification, now)
        if (over := self._over(row, notification, now)) is not None:
            return over
        return self._to_user(row, notification, facts, now)

    def _digest(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about a digest."""
        content = facts.digests.get(row["_id"])
        if content is None:
            # What it carries could not be read with the rest.
            return Wait(now + AWAY, Deferral.DIGEST)
        if not content.total:
            return End(DeliveryState.CANCELLED, content.left or Reason.NOTIFICATION_GONE)
        return self._over(row, {}, now) or self._to_user(row, {}, facts, now)

    def left_out(self, item: Mapping[str, Any], notification: Mapping[str, Any] | None, now: datetime) -> End | None:
        """Return why an item is left out of the digest that carries it."""
        if notification is None or _is_over(notification.get("expiresAt"), now):
            return _gone(item, notification, now)
        if item.get("superseded"):
            return End(DeliveryState.CANCELLED, Reason.SUPERSEDED)
        return _read(notification.get(self.channel, {}), notification)

    def _to_user(
        self, row: Mapping[str, Any], notification: Mapping[str, Any], facts: Facts, now: datetime
    ) -> Judgement:
        if facts.users is None:
            return Wait(now + about(AWAY), Deferral.USERS_SERVICE_DOWN)
        if row["userId"] not in facts.users:
            return End(DeliveryState.CANCELLED, Reason.USER_GONE)
        user = facts.users[row["userId"]]
        if user is None:
            raise LookupError("the users service cannot read this user")
        nowhere = self._nowhere(row, user, facts)
        return nowhere or self._preferred(row, notification, user, facts, now) or SendNow(notification, user)

    def _direct(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about what SendDirect was given: a user's state and preferences do not count, a complaint neither."""
        if "content" not in row or _is_over(row["expiresAt"], now):
            return End(DeliveryState.EXPIRED, Reason.EXPIRED)
        if (over := self._over(row, {}, now)) is not None:
            return over
        user = self._addressee(row, facts, now)
        if not isinstance(user, Addressee):
            return user
        if SuppressionReason.BOUNCE in facts.suppressed.get(normalized(user.email), ()):
            return End(DeliveryState.SUPPRESSED, Reason.SUPPRESSED_ADDRESS)
        return SendNow({}, user)

    def _addressee(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Addressee | End | Wait:
        """Return whom a direct mail is for. Raises LookupError for a user who cannot be read."""
        key = row.get("userId", "")
        if not key:
            address = facts.addresses.get(row["_id"])
            return Addressee("", address) if address else End(DeliveryState.FAILED, Reason.KEY_GONE)
        if facts.users is None:
            return Wait(now + about(AWAY), Deferral.USERS_SERVICE_DOWN)
        if key not in facts.users:
            return End(DeliveryState.CANCELLED, Reason.USER_GONE)
        user = facts.users[key]
        if user is None:
            raise LookupError("the users service cannot read this user")
        return user if user.email else End(DeliveryState.FAILED, Reason.NO_ADDRESS)

    def _over(self, row: Mapping[str, Any], notification: Mapping[str, Any], now: datetime) -> End | Wait | None:
        if row.get("superseded"):
            # While a worker had it that never told what became of it.
            return End(DeliveryState.CANCELLED, Reason.SUPERSEDED)
        delay = self._delay(notification)
        if row.get("deferral") == Deferral.DELAY.value and row["createdAt"] + delay > now:
            # It was looked at because it would have expired, but an update has put that off.
            return Wait(row["createdAt"] + delay, Deferral.DELAY)
        if (read := _read(notification.get(self.channel, {}), notification)) is not None:
            return read
        # What killed its workers often enough is given up, too.
        if row["attempts"] >= self.attempts:
            return End(DeliveryState.FAILED, Reason(row.get("reason", Reason.OUTCOME_UNKNOWN)))
        return None

    def _delay(self, notification: Mapping[str, Any]) -> timedelta:
        return timedelta(milliseconds=notification.get(self.channel, {}).get("delay", 0))

    def _nowhere(self, row: Mapping[str, Any], user: Addressee, facts: Facts) -> End | None:
        """Return why there is nowhere to send to."""
        if user.is_disabled and not row.get("critical"):
            return End(DeliveryState.SUPPRESSED, Reason.USER_DISABLED)
        if self.channel != EMAIL:
            return None if facts.subscriptions.get(user.id) else End(DeliveryState.FAILED, Reason.NO_SUBSCRIPTION)
        if not user.email:
            return End(DeliveryState.FAILED, Reason.NO_ADDRESS)
        if not (user.is_verified or self.unverified):
            return End(DeliveryState.FAILED, Reason.ADDRESS_UNVERIFIED)
        if facts.suppressed.get(normalized(user.email)):
            return End(DeliveryState.SUPPRESSED, Reason.SUPPRESSED_ADDRESS)
        return None

    def _preferred(
        self, row: Mapping[str, Any], notification: Mapping[str, Any], user: Addressee, facts: Facts, now: datetime
    ) -> End | Wait | Join | None:
        category = row.get("category", "")
        found = decision.decide(
            Question(
                facts.preferences.get(user.id) or Preferences(user.id),
                facts.categories.get(category) or Category(category),
                self.channel,
                bool(row.get("critical")),
                Kind(row["kind"]),
                now,
                # One that was queued by hand goes with the next digest, not with one of the past.
                row.get("queuedAt", row["createdAt"] + self._delay(notification)),
            )
        )
        return _judged(found)


def _judged(found: decision.Decision) -> End | Wait | Join | None:
    if isinstance(found, decision.Suppress):
        return End(DeliveryState.SUPPRESSED, found.reason)
    if isinstance(found, decision.Defer):
        return Wait(found.until, found.deferral)
    return Join() if isinstance(found, decision.Gather) else None


def _gone(row: Mapping[str, Any], notification: Mapping[str, Any] | None, now: datetime) -> End:
    """Return the end of what has no notification any more; one that has expired may not be found."""
    if _is_over((notification or row).get("expiresAt"), now):
        return End(DeliveryState.EXPIRED, Reason.EXPIRED)
    return End(DeliveryState.CANCELLED, Reason.NOTIFICATION_GONE)


def _read(given: Mapping[str, Any], notification: Mapping[str, Any]) -> End | None:
    is_read = given.get("unlessRead") and notification.get("read")
    return End(DeliveryState.CANCELLED, Reason.READ) if is_read else None


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: up to twice as long after each, drawn at random (full jitter)."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(max(attempts, 1) - 1, 16)
    return min(LONGEST_PAUSE, doubled) * random.random()  # noqa: S311 - spreads load, hides nothing


def about(pause: timedelta) -> timedelta:
    """Return a pause with as much as half of it left out at random."""
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _is_over(time: datetime | None, now: datetime) -> bool:
    return isinstance(time, datetime) and time <= now
