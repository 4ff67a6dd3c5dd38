"""Steps of a delivery by hand: what cancelling it, or queueing it again, makes of a row as it was read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from bson import ObjectId

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Kind, Lane, Reason


class Untouched(Enum):
    """Why a step left a delivery as it was."""

    ALREADY = auto()
    CONFLICT = auto()
    NOT_FOUND = auto()


@dataclass(frozen=True, slots=True)
class Beside:
    """What a step sees beside a row: the notifications that are still there, and the digests that rows name, by id."""

    notifications: Collection[ObjectId] = ()
    digests: Mapping[str, Document] = field(default_factory=dict)


# Of a row, what is beside it, and the time: what becomes of it.
StepRule = Callable[[Document, Beside, datetime], Change | Untouched]

_ATTEMPTS_FROM_ZERO: Final[Mapping[str, Any]] = {
    "attempts": 0,
    "leasesLost": None,
    "reason": None,
    "reasonDetail": None,
    "finishedAt": None,
}


# What ends, or begins anew, by itself is not that digest's any more.
_LEAVES_ITS_DIGEST: Final[Mapping[str, Any]] = {"digestDeliveryId": None}


@dataclass(frozen=True, slots=True)
class SteeringStep:
    """A step: from which states it leads, and how.

    ``needs_content``: whether what it carries must still be there. ``takes_newcomers``: whether a call for all that
    match is about those, too, that come while it runs.
    """

    sources: frozenset[DeliveryState]
    decide: StepRule
    needs_content: bool = False
    takes_newcomers: bool = False


def _cancel(row: Document, beside: Beside, at: datetime) -> Change | Untouched:
    if row["state"] == DeliveryState.CANCELLED.value:
        return Untouched.ALREADY
    if DeliveryState(row["state"]) not in CANCEL.sources or _is_leaving(row, beside):
        return Untouched.CONFLICT
    return Change(row, {**changes.final(DeliveryState.CANCELLED, Reason.CANCELLED, at), **_LEAVES_ITS_DIGEST})


def _retry(row: Document, beside: Beside, at: datetime) -> Change | Untouched:
    if (
        _is_gone(row, beside, at)
        or DeliveryState(row["state"]) not in RETRY.sources
        or _is_about_to_follow(row, beside)
    ):
        return Untouched.CONFLICT
    lane = Lane.DIGEST.value if row["kind"] == Kind.DIGEST.value else None
    queued = {"queuedAt": at, "lane": lane, **_LEAVES_ITS_DIGEST}
    return Change(row, {**changes.pending(at, None, row.get("expiresAt")), **_ATTEMPTS_FROM_ZERO, **queued})


def _is_leaving(row: Document, beside: Beside) -> bool:
    """Say whether the digest that carries a row is being sent, or was, and the row is about to be told."""
    digest = beside.digests.get(row.get("digestDeliveryId", ""))
    return digest is not None and digest["state"] != DeliveryState.PENDING.value


def _is_about_to_follow(row: Document, beside: Beside) -> bool:
    digest = beside.digests.get(row.get("digestDeliveryId", ""))
    return digest is not None and changes.is_open(digest)


def _is_gone(row: Document, beside: Beside, at: datetime) -> bool:
    if row["kind"] == Kind.DIRECT.value:
        return "content" not in row or row["expiresAt"] <= at
    return row["kind"] == Kind.NOTIFICATION.value and row["notificationId"] not in beside.notifications


# One that is being sent may have left already.
CANCEL: Final = SteeringStep(frozenset({DeliveryState.SCHEDULED, DeliveryState.PENDING}), _cancel, takes_newcomers=True)
# A newcomer may be one that was queued by this very call and has failed again.
RETRY: Final = SteeringStep(
    frozenset({DeliveryState.FAILED, DeliveryState.CANCELLED, DeliveryState.SUPPRESSED}), _retry, needs_content=True
)
