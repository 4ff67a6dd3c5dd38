"""The model of imports: a user to be stored with everything, and what became of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias

from vibework.errors.v1 import error_reason_pb2
from vibework.users.v1 import user_service_pb2

from users_service.sessions.model import Session
from users_service.users.model import User

# The columns that only accounts at providers have values in; all rows of one statement name the same columns.
OF_PROVIDERS: Final = (
    "access_token",
    "refresh_token",
    "id_token",
    "expires_at",
    "refresh_token_expires_at",
    "scope",
    "token_key_id",
    "verified_email",
)


class ImportResult(Enum):
    """What became of a user."""

    IMPORTED = user_service_pb2.IMPORT_RESULT_IMPORTED
    ALREADY_THERE = user_service_pb2.IMPORT_RESULT_ALREADY_THERE
    REFUSED = user_service_pb2.IMPORT_RESULT_REFUSED


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a user is not stored, and the path of the field at fault within ``ImportedUser``."""

    id: str
    # As the answer says it: none of these ends the call.
    reason: error_reason_pb2.ErrorReason.ValueType
    field: str = ""


@dataclass(frozen=True, slots=True)
class IncomingAccount:
    """A provider account to be stored; ``values``: its columns, tokens sealed."""

    provider: str
    account_id: str
    values: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A user who keeps all rules, with everything that is to be stored. Times are in UTC."""

    user: User
    email_normalized: str = field(repr=False)
    # Empty: no password.
    password_hash: str = field(repr=False)
    accounts: Sequence[IncomingAccount]
    # With the places that they have in the request.
    sessions: Sequence[tuple[int, Session]]

    @property
    def rows(self) -> int:
        """How many rows depend on the user's own."""
        return len(self.accounts) + len(self.sessions)

    @property
    def token_hashes(self) -> Iterator[bytes]:
        """The hashes of the sessions' tokens."""
        return (session.token_hash for _, session in self.sessions)


# A user as judged: to be stored, or not.
Judged: TypeAlias = Incoming | Refusal


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of one user; ``refusal``: why, where the user was refused."""

    id: str
    result: ImportResult
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of an import: what lies before ``latest`` may be said to have happened."""

    now: datetime
    latest: datetime
