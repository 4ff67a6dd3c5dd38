"""Entries of the outbox, and their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

# Payload: `user_id`.
DELETE_USER_NOTIFICATIONS: Final = "delete_user_notifications"
# Payload: `verification_id`, `secret` (sealed), `locale`.
SEND_VERIFICATION: Final = "send_verification"
# Payload: `notice`, `left_at`, `user_id` or `email_address`, and the variables of its template.
SEND_NOTICE: Final = "send_notice"

# Payload: `user_id`, `email_address`, `proved_at`.
LIFT_BOUNCE: Final = "lift_bounce"

KINDS: Final = (DELETE_USER_NOTIFICATIONS, SEND_VERIFICATION, SEND_NOTICE, LIFT_BOUNCE)

# How long after an entry was left its mail may be sent: the most that SendDirect takes, less what the clocks of the two
# services may differ by.
LONGEST_MAIL: Final = timedelta(hours=23, minutes=55)


class Notice(StrEnum):
    """What a notice tells: the name of its template."""

    WELCOME = "welcome"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    EMAIL_CHANGED = "email_changed"
    NEW_SIGN_IN = "new_sign_in"


@dataclass(frozen=True, slots=True, eq=False)
class OutboxEntry:
    """A call to make, leased to one relay until ``leased_until``; ``attempts`` counts the leases."""

    id: str
    kind: str
    payload: Mapping[str, str]
    attempts: int
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry as an operator sees it. ``about``: the id of the user or verification, or the name of the notice."""

    id: str
    kind: str
    about: str
    attempts: int
    created_at: datetime
    available_at: datetime
    leased_until: datetime | None
