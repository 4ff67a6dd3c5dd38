"""What the client repeats, and when: docs/retries.md is the rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from vibework.client import RetryPolicy, errors
from vibework.client._failure import VibeworkError
from vibework.client._generated.notifications import METHODS as NOTIFICATIONS
from vibework.client._generated.users import METHODS as USERS
from vibework.client._methods import Method
from vibework.client._retrying import LONGEST_DELAY, backoff, may_be_repeated

DOCUMENT: Final = (Path(__file__).parents[3] / "docs" / "retries.md").read_text()
METHODS: Final = {
    name.rpartition(".")[2].replace("/", "."): method for name, method in {**USERS, **NOTIFICATIONS}.items()
}
REASONS: Final = dict(re.findall(r"^\| ([A-Z_]+) \| [A-Z_]+ \| (no|it may have) \|", DOCUMENT, re.MULTILINE))
RPCS: Final = dict(re.findall(r"^\| (\w+Service\.\w+) \| (.+?) \|$", DOCUMENT, re.MULTILINE))
NAMES: Final = ("UserService.GetUser", "UserService.UpdateUser", "SessionService.SignIn")
GET, UPDATE, SIGN_IN = (METHODS[name] for name in NAMES)
OF_STREAMS: Final = {"WATCHER_TOO_SLOW", "TOO_MANY_WATCHERS", "WATCH_INTERRUPTED"}


def failure(reason: str, retry_after: float | None = None) -> VibeworkError:
    """Make the exception of a reason."""
    return (errors.by_reason(reason) or errors.UnknownReason)("text", reason=reason, retry_after=retry_after)


def test_every_rpc_may_be_repeated_as_documented() -> None:
    """The client repeats after an unclear end what the table says, no more and no less."""
    assert RPCS.keys() == METHODS.keys()
    for name, said in RPCS.items():
        assert METHODS[name].repeatable is (said != "no: read first"), name


@pytest.mark.parametrize("reason", sorted(REASONS.keys() - OF_STREAMS))
def test_reasons_are_repeated_as_documented(reason: str) -> None:
    """What took no effect is repeated for any RPC, what may have only for those that allow it."""
    again = {method.name for method in (GET, UPDATE, SIGN_IN) if may_be_repeated(method, failure(reason))}
    if reason in ("RATE_LIMITED", "DEADLINE_EXCEEDED"):
        # The one ends in minutes, behind the other nobody waits any more.
        assert again == set()
    elif REASONS[reason] == "no":
        assert again == {"GetUser", "UpdateUser", "SignIn"}
    else:
        assert again == {"GetUser", "SignIn"}


@pytest.mark.parametrize("reason", ["EMAIL_TAKEN", "INVALID_FIELDS", "INTERNAL", "ETAG_MISMATCH", "SESSION_INVALID"])
def test_other_errors_are_not_repeated(reason: str) -> None:
    """A loop does not help against them."""
    assert not any(may_be_repeated(method, failure(reason)) for method in METHODS.values())


def test_a_lost_connection_repeats_what_may_be_repeated() -> None:
    """Nobody knows whether the call took effect."""
    lost = errors.ServiceUnreachable("connection reset")
    assert [may_be_repeated(method, lost) for method in (GET, SIGN_IN, UPDATE)] == [True, True, False]


def test_a_repetition_meets_the_deadline_or_is_not_made() -> None:
    """Whoever waits for the client gets the error while there is time left to use it."""
    policy = RetryPolicy(attempts=3)
    assert policy.delay(GET, failure("OVERLOADED", 1.0), 1, 0.9) is None
    assert policy.delay(GET, failure("OVERLOADED", 1.0), 1, 9.0) is not None
    assert policy.delay(GET, failure("OVERLOADED", 1.0), 3, 9.0) is None
    assert RetryPolicy(attempts=1).delay(GET, failure("OVERLOADED"), 1, 9.0) is None
    with pytest.raises(ValueError, match="attempts"):
        RetryPolicy(attempts=0)


def test_delays_grow_and_are_never_shorter_than_what_was_said() -> None:
    """A crowd of callers spreads, and a service that asks for time gets it."""
    for made in range(1, 9):
        assert backoff(made, 5.0) >= 5.0
        assert 0 < backoff(made, None) <= LONGEST_DELAY * 1.5
    assert backoff(4, None) > backoff(1, None)


def test_a_creation_has_a_request_id_which_is_kept() -> None:
    """A repeat with another one would create twice."""
    create: Method = METHODS["NotificationService.CreateNotification"]
    assert create.message({"user_id": "user_1"}).request_id != ""
    assert create.message({"request_id": "mine"}).request_id == "mine"
    assert create.message({}).request_id != create.message({}).request_id
