"""Settling of a delivery after its attempts: sent, tried again later, or given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from notifications_service.delivery import rules
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import MOST_DETAIL, AttemptEntry, Deferral, Reason

# What a row keeps of the targets that have the message already.
ACCEPTED: Final = "accepted"


@dataclass(frozen=True, slots=True)
class Try:
    """What came of one target; ``outcome`` None: its far end is known to be away, so that nothing was tried."""

    outcome: Outcome | None
    started_at: datetime
    finished_at: datetime | None = None
    masked_address: str = ""
    address_hash: bytes = b""
    subscription_id: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether the far end has taken the message."""
        return self.outcome is not None and self.outcome.reason is None

    @property
    def is_open(self) -> bool:
        """Whether a later attempt may succeed."""
        return self.outcome is None or not (self.is_accepted or self.outcome.final)

    @property
    def is_counted(self) -> bool:
        """Whether it counts as an attempt at the delivery."""
        return self.outcome is not None and not self.outcome.blames_provider

    def logged(self) -> AttemptEntry | None:
        """Return the entry of the delivery's log; None where nothing was tried."""
        if self.outcome is None:
            return None
        return AttemptEntry(
            self.started_at,
            self.finished_at,
            self.outcome.reason,
            self.masked_address,
            self.address_hash,
            self.subscription_id,
            self.outcome.smtp_code,
            self.outcome.enhanced_status,
            self.outcome.http_status,
            self.outcome.provider_message_id,
        )


def settled(row: Mapping[str, Any], tries: Sequence[Try], most: int, now: datetime) -> Change:
    """Return what becomes of a row after one attempt at each of its targets; ``most``: how often sending is tried."""
    counted = any(each.is_counted for each in tries)
    attempts = row["attempts"] + counted
    accepted = [*row.get(ACCEPTED, ()), *(each.subscription_id for each in tries if each.is_accepted)]
    sent_at = row.get("sentAt") or (now if accepted else None)
    failed = next((each.outcome for each in reversed(tries) if each.outcome and each.outcome.reason), None)
    is_last = not any(each.is_open for each in tries) or bool(row.get("superseded")) or (counted and attempts >= most)
    if is_last:
        values = _ended(row, failed, now) if not accepted else changes.final(DeliveryState.SENT, None, now)
        values |= {ACCEPTED: None}
    else:
        values = _again(row, tries, attempts, now) | {ACCEPTED: accepted or None} | _why(failed)
    logged = [entry for each in tries if (entry := each.logged()) is not None]
    return Change(row, values | {"attempts": attempts, "sentAt": sent_at}, logged)


def _ended(row: Mapping[str, Any], failed: Outcome | None, now: datetime) -> dict[str, Any]:
    if row.get("superseded"):
        return changes.final(DeliveryState.CANCELLED, Reason.SUPERSEDED, now)
    why = failed or Outcome(Reason.INTERNAL)
    return changes.final(DeliveryState.FAILED, why.reason, now, why.detail)


def _why(failed: Outcome | None) -> dict[str, Any]:
    if failed is None or failed.reason is None:
        return {}
    return {"reason": failed.reason.value, "reasonDetail": failed.detail[:MOST_DETAIL] or None}


def _again(row: Mapping[str, Any], tries: Sequence[Try], attempts: int, now: datetime) -> dict[str, Any]:
    """Return the values of a row that is tried again: when the first of its targets may be."""
    pauses = [_pause(each.outcome, attempts) for each in tries if each.is_open]
    pause, deferral = min(pauses, key=lambda each: each[0])
    return changes.pending(now + pause, deferral, row.get("expiresAt"))


def _pause(outcome: Outcome | None, attempts: int) -> tuple[timedelta, Deferral]:
    if outcome is None:
        return rules.about(rules.AWAY), Deferral.PROVIDER_DOWN
    least = outcome.retry_after or timedelta(0)
    if outcome.blames_provider:
        return max(least, rules.about(rules.AWAY)), Deferral.PROVIDER_DOWN
    deferral = Deferral.RATE if outcome.reason is Reason.RATE_LIMITED else Deferral.RETRY
    return max(least, rules.backoff(attempts)), deferral
