"""The states of deliveries, and how a notification sums up those of its own."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, auto
from typing import Final


class DeliveryState(StrEnum):
    """Where a delivery stands, as stored; `delivery.state` of a notification has the same values."""

    SCHEDULED = auto()
    PENDING = auto()
    SENDING = auto()
    SENT = auto()
    BOUNCED = auto()
    COMPLAINED = auto()
    FAILED = auto()
    EXPIRED = auto()
    CANCELLED = auto()
    SUPPRESSED = auto()


OPEN: Final = frozenset({DeliveryState.SCHEDULED, DeliveryState.PENDING, DeliveryState.SENDING})
# Of the states of a notification's deliveries the first in this order is its own. A delivery that is being sent counts
# as pending: otherwise each claim would be a change of the notification, and an event of every watch.
PRECEDENCE: Final = (
    DeliveryState.PENDING,
    DeliveryState.SCHEDULED,
    DeliveryState.FAILED,
    DeliveryState.COMPLAINED,
    DeliveryState.BOUNCED,
    DeliveryState.SENT,
    DeliveryState.EXPIRED,
    DeliveryState.CANCELLED,
    DeliveryState.SUPPRESSED,
)


def summed(states: Iterable[DeliveryState]) -> DeliveryState:
    """Return the state of a notification whose deliveries have these; without any it is in the feed alone: SENT."""
    each = {DeliveryState.PENDING if state is DeliveryState.SENDING else state for state in states}
    return next((state for state in PRECEDENCE if state in each), DeliveryState.SENT)
