"""Entries of the outbox, and their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Payload: `user_id`.
DELETE_USER_NOTIFICATIONS: Final = "delete_user_notifications"
# Payload: `verification_id`, `secret` (sealed), `locale`.
SEND_VERIFICATION: Final = "send_verification"


@dataclass(frozen=True, slots=True, eq=False)
class OutboxEntry:
    """A call to make, leased to one relay until ``leased_until``; ``attempts`` counts the leases."""

    id: str
    kind: str
    payload: Mapping[str, str]
    attempts: int
    leased_until: datetime
