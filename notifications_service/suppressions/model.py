"""A suppression: why nothing is sent to an address, since when, and until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from notifications_service.notification.filters import BoundTime


class SuppressionReason(StrEnum):
    """Why nothing is sent to an address, as stored."""

    BOUNCE = auto()
    COMPLAINT = auto()


# A mailbox that was full of faults may be there again; a complaint ends when its owner asks.
BOUNCE_HOLDS: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address, suppressed for one reason.

    ``address``: empty where nobody knew it any longer, or where it was sealed under a key that is gone. ``created_at``:
    when it began, or was last renewed. ``detail``: for people, at most 500 characters, without addresses.
    """

    address: str = field(repr=False)
    reason: SuppressionReason
    created_at: datetime
    delivery_id: str = ""
    detail: str = ""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself; None: never."""
        return self.created_at + BOUNCE_HOLDS if self.reason is SuppressionReason.BOUNCE else None


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """All given conditions hold together; ``address`` empty: any."""

    address: str = field(default="", repr=False)
    reasons: frozenset[SuppressionReason] = frozenset(SuppressionReason)
    created_from: BoundTime | None = None
    created_before: BoundTime | None = None
