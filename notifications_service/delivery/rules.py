"""The rules by which a claimed delivery is sent, ended or put off; they read facts, and touch nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping
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


Judgement: TypeAlias = SendNow | End | Wait


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The rules of one channel; ``attempts``: how often sending is tried; ``unverified``: whether mails go there."""

    channel: str
    attempts: int
    unverified: bool = False

    def judge(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about a row that was claimed at ``now``. Raises LookupError for a user who cannot be read."""
        return (self._direct if row["kind"] == Kind.DIRECT.value else self._notified)(row, facts, now)

    def _notified(self, row: Mapping[str, Any], facts: Facts, now: datetime) -> Judgement:
        """Decide about a notification."""
        notification = facts.notifications.get(row["notificationId"])
        # What has expired is not shown any more, so it may not be found.
        if _is_over((notification or row).get("expiresAt"), now):
            return End(DeliveryState.EXPIRED, Reason.EXPIRED)
        if notification is None:
            return End(DeliveryState.CANCELLED, Reason.NOTIFICATION_GONE)
        if (over := self._over(row, notification, now)) is not None:
            return over
        if facts.users is None:
            return Wait(now + about(AWAY), Deferral.USERS_SERVICE_DOWN)
        if row["userId"] not in facts.users:
            return End(DeliveryState.CANCELLED, Reason.USER_GONE)
        user = facts.users[row["userId"]]
        if user is None:
            raise LookupError("the users service cannot read this user")
        return self._nowhere(row, user, facts) or self._preferred(row, user, facts, now) or SendNow(notification, user)

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
        delay = timedelta(milliseconds=notification.get(self.channel, {}).get("delay", 0))
        if row.get("deferral") == Deferral.DELAY.value and row["createdAt"] + delay > now:
            # It was looked at because it would have expired, but an update has put that off.
            return Wait(row["createdAt"] + delay, Deferral.DELAY)
        if notification.get(self.channel, {}).get("unlessRead") and notification.get("read"):
            return End(DeliveryState.CANCELLED, Reason.READ)
        # What killed its workers often enough is given up, too.
        if row["attempts"] >= self.attempts:
            return End(DeliveryState.FAILED, Reason(row.get("reason", Reason.OUTCOME_UNKNOWN)))
        return None

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

    def _preferred(self, row: Mapping[str, Any], user: Addressee, facts: Facts, now: datetime) -> End | Wait | None:
        category = row.get("category", "")
        found = decision.decide(
            Question(
                facts.preferences.get(user.id) or Preferences(user.id),
                facts.categories.get(category) or Category(category),
                self.channel,
                bool(row.get("critical")),
                Kind(row["kind"]),
                now,
            )
        )
        if isinstance(found, decision.Suppress):
            return End(DeliveryState.SUPPRESSED, found.reason)
        return Wait(found.until, found.deferral) if isinstance(found, decision.Defer) else None


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: up to twice as long after each, drawn at random (full jitter)."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(max(attempts, 1) - 1, 16)
    return min(LONGEST_PAUSE, doubled) * random.random()  # noqa: S311 - spreads load, hides nothing


def about(pause: timedelta) -> timedelta:
    """Return a pause with as much as half of it left out at random."""
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _is_over(time: datetime | None, now: datetime) -> bool:
    return isinstance(time, datetime) and time <= now
