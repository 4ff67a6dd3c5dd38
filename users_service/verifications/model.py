"""The model of verifications: purposes, kinds of secrets, and lifetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

# Wrong attempts after which a verification can no longer be consumed.
MAX_ATTEMPTS: Final = 5


class Purpose(StrEnum):
    """The purpose of a verification, as stored."""

    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105
    SIGN_IN = "sign_in"
    EMAIL_CHANGE = "email_change"


class SecretKind(StrEnum):
    """The kind of a secret, as stored."""

    CODE = "code"
    TOKEN = "token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification as stored: its secret as a keyed hash in ``value``. Times are in UTC."""

    id: str
    identifier: str
    value: str = field(repr=False)
    purpose: Purpose
    kind: SecretKind
    attempts: int
    consumed_at: datetime | None
    expires_at: datetime
    created_at: datetime
    # Whose address is to change; empty: for no particular user.
    user_id: str = ""

    def is_living(self, now: datetime) -> bool:
        """Say whether its secret can still be consumed."""
        return self.consumed_at is None and now < self.expires_at and self.attempts < MAX_ATTEMPTS


def lifetime(purpose: Purpose, kind: SecretKind) -> timedelta:
    """Return how long a new secret is valid: a code, which can be guessed, for less time than a token."""
    if kind is SecretKind.CODE:
        return timedelta(minutes=5)
    return timedelta(hours=1) if purpose is Purpose.PASSWORD_RESET else timedelta(days=1)
