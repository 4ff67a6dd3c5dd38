"""Counters of attempts: whose they are, and in which order their rows are locked."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, cast

import pytest

from chassis.keyring import Keyring
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, account, address
from users_service.tables import attempt_counters
from users_service.verifications.model import Purpose

KEYRING = Keyring.parse(f"a:{base64.b64encode(b'a' * 32).decode()}")
MINUTE = timedelta(minutes=1)
# Nothing is counted here.
ATTEMPTS = Attempts(cast("Any", None), KEYRING.mac("attempts"), window=MINUTE, per_account=10, per_address=100)
ACTIONS = [
    actions.SIGN_UP,
    actions.SIGN_IN,
    actions.CHANGE_PASSWORD,
    *map(actions.create_verification, Purpose),
    *map(actions.consume_verification, Purpose),
]


@pytest.mark.parametrize("action", ACTIONS, ids=str)
def test_the_address_is_counted_before_the_account(action: actions.Action) -> None:
    """In the statement and in the table's key: a flood from one address queues at its own row, not at a victim's."""
    counters = ATTEMPTS.counters([account(action, "ann@example.com"), address(action, "192.0.2.1")])
    assert [(counter.kind, counter.limit) for counter in counters] == [("address", 100), ("account", 10)]
    keys = [(counter.scope, counter.subject) for counter in counters]
    assert keys == sorted(keys)


def test_each_action_and_purpose_is_counted_apart() -> None:
    """No two doors share a row, and every scope fits its column."""
    made = [ATTEMPTS.counters([account(each, "ann@example.com"), address(each, "192.0.2.1")]) for each in ACTIONS]
    keys = {(counter.scope, counter.subject) for counters in made for counter in counters}
    assert len(keys) == 2 * len(ACTIONS)
    length = cast("Any", attempt_counters.c.scope.type).length
    assert all(len(scope) <= length for scope, _ in keys)


def test_who_is_not_named_is_not_counted() -> None:
    """A caller that passes no address, or a secret that names no mailbox, has no counter."""
    assert ATTEMPTS.counters([account(actions.SIGN_IN, ""), address(actions.SIGN_IN, "")]) == []
