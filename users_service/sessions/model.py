"""Sessions as stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

USER_AGENT_LENGTH = 512

# Why a session was ended, in sessions.revoked_reason.
SIGNED_OUT: Final = "signed_out"
REVOKED: Final = "revoked"
STOLEN: Final = "stolen"
PASSWORD_CHANGED: Final = "password_changed"  # noqa: S105
PASSWORD_RESET: Final = "password_reset"  # noqa: S105
USER_DISABLED: Final = "user_disabled"
# Somebody else turned out to own the address.
ADDRESS_PROVED: Final = "address_proved"


class AuthenticationMethod(StrEnum):
    """How the user of a session was authenticated, as stored."""

    PASSWORD = "password"  # noqa: S105
    ACCOUNT = "account"
    VERIFICATION = "verification"
    CALLER = "caller"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Session:
    """One row of ``sessions``; times are aware and in UTC."""

    id: str
    user_id: str
    token_hash: bytes
    created_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    # When the lifetime was last extended.
    extended_at: datetime
    # When it was created or last refreshed.
    last_seen_at: datetime
    revoked_at: datetime | None
    do_not_remember: bool
    ip_address: str
    user_agent: str
    # None: not known.
    authentication_method: AuthenticationMethod | None = None
    # Why it was ended, as lists read it; empty: not read, not known, or not ended.
    revoked_reason: str = ""


@dataclass(frozen=True, slots=True)
class ClientDetails:
    """The address and the user agent of the end user, as the caller passed them; empty where it did not."""

    ip_address: str = ""
    user_agent: str = ""

    @classmethod
    def of(cls, ip_address: str, user_agent: str) -> ClientDetails:
        """Make details that fit the columns: no IPv6 zone, a user agent of 512 characters."""
        return cls(ip_address.partition("%")[0], user_agent[:USER_AGENT_LENGTH])
