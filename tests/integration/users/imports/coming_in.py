"""Users of another system, with the values that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import bcrypt
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.errors.v1 import ErrorReason
from vibework.users.v1 import imported_user_pb2 as pb
from vibework.users.v1 import user_service_pb2

from chassis.contract.timestamps import to_proto
from tests.harness.users import Stubs
from tests.integration.users.ways_to_sign_in import new_email, provider_account

PASSWORD: Final = "a password of the other system"
HASH: Final = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
LONG_AGO: Final = datetime(2019, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
IMPORTED: Final = ("IMPORTED", "", "")
ALREADY_THERE: Final = ("ALREADY_THERE", "", "")


def incoming(**values: Any) -> pb.ImportedUser:
    """Make a user of another system."""
    return pb.ImportedUser(**{"id": uuid4().hex, "email": new_email(), **values})


def account(account_id: str = "", provider: str = "google", **values: Any) -> pb.ImportedAccount:
    """Make an account; `values`: its tokens, and fields of ImportedAccount."""
    tokens = {name: values.pop(name) for name in list(values) if name.endswith("_token") or name == "scope"}
    return pb.ImportedAccount(account=provider_account(account_id, provider, **tokens), **values)


def session(token: str = "", *, ends_in: timedelta = timedelta(days=3), **values: Any) -> pb.ImportedSession:
    """Make a session that ends some time from now."""
    expires_at = to_proto(datetime.now(UTC) + ends_in)
    return pb.ImportedSession(**{"session_token": token or uuid4().hex, "expires_at": expires_at, **values})


def seconds(value: int, nanos: int = 0) -> Timestamp:
    """Make a time of seconds since 1970."""
    return Timestamp(seconds=value, nanos=nanos)


async def imported(users: Stubs, *messages: pb.ImportedUser, validate_only: bool = False) -> list[tuple[str, str, str]]:
    """Import users; return of each the result, the reason and the field."""
    request = user_service_pb2.ImportUsersRequest(users=messages, validate_only=validate_only)
    response = await users.users.ImportUsers(request)
    assert [outcome.id for outcome in response.outcomes] == [message.id[:255] for message in messages]
    return [said(outcome) for outcome in response.outcomes]


def said(outcome: user_service_pb2.ImportUsersResponse.Outcome) -> tuple[str, str, str]:
    """Return an outcome as words."""
    result = user_service_pb2.ImportResult.Name(outcome.result).removeprefix("IMPORT_RESULT_")
    reason = ErrorReason.Name(outcome.reason).removeprefix("ERROR_REASON_") if outcome.reason else ""
    return result, reason, outcome.field


def refused(reason: str, field: str) -> tuple[str, str, str]:
    """Return the outcome of a user who is refused."""
    return "REFUSED", reason, field


def results(outcomes: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the results alone."""
    return [result for result, _, _ in outcomes]
