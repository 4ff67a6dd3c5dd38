"""What becomes of a delivery after attempts at one target or several."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from notifications_service.delivery import rules
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.settling import Try, settled
from notifications_service.outbox.changes import updates
from notifications_service.outbox.model import KEPT_ATTEMPTS, Reason
from tests.harness.clocks import stored_now

NOW = stored_now()
MOST = 3
OK = Outcome(http_status=201)
GONE = Outcome(Reason.SUBSCRIPTION_GONE, final=True)
LATER = Outcome(Reason.REJECTED_TEMPORARY)
SLOWER = Outcome(Reason.RATE_LIMITED, retry_after=timedelta(hours=9))
AWAY = Outcome(Reason.CONNECTION, blames_provider=True)
UNTRIED = None


def row(**fields: Any) -> dict[str, Any]:
    """Return a row that is being sent."""
    kept = {"_id": "dlv_1", "kind": "notification", "channel": "push", "state": "sending", "attempts": 0, "rev": 2}
    return kept | fields


def after(*outcomes: Outcome | None, **fields: Any) -> dict[str, Any]:
    """Return the values that a row gets after one attempt at each of several subscriptions."""
    tries = [Try(outcome, NOW, NOW, subscription_id=f"push_{n}") for n, outcome in enumerate(outcomes)]
    return dict(settled(row(**fields), tries, MOST, NOW).values)


@pytest.mark.parametrize(
    ("outcomes", "state", "reason"),
    [
        ([OK, OK], "sent", None),
        ([OK, GONE], "sent", None),
        ([GONE, GONE], "failed", "subscription_gone"),
        ([], "failed", "internal"),
    ],
)
def test_it_is_sent_if_any_target_has_it_once_none_is_left(outcomes: list[Any], state: str, reason: str | None) -> None:
    """What is final of one target says nothing of the others."""
    values = after(*outcomes)
    assert (values["state"], values["reason"], values["finishedAt"]) == (state, reason, NOW)
    assert values["sentAt"] == (NOW if state == "sent" else None)


def test_targets_that_have_it_are_remembered_while_others_are_tried_again() -> None:
    """So nobody gets it twice; in the end it is sent, whatever came of the rest."""
    values = after(OK, LATER, GONE)
    assert (values["state"], values["accepted"], values["attempts"], values["sentAt"]) == (
        "pending",
        ["push_0"],
        1,
        NOW,
    )
    last = after(LATER, attempts=MOST - 1, accepted=["push_0"], sentAt=NOW - timedelta(hours=1))
    assert (last["state"], last["sentAt"], last["accepted"]) == ("sent", NOW - timedelta(hours=1), None)


@pytest.mark.parametrize("outcomes", [[AWAY], [UNTRIED], [AWAY, UNTRIED]])
def test_a_provider_that_is_away_costs_no_attempt(outcomes: list[Any]) -> None:
    """However often it was tried before."""
    values = after(*outcomes, attempts=MOST - 1)
    assert (values["state"], values["attempts"], values["deferral"]) == ("pending", MOST - 1, "provider_down")
    assert NOW + rules.AWAY / 2 <= values["dueAt"] <= NOW + rules.AWAY


def test_a_far_end_is_not_asked_before_it_said() -> None:
    """Its wish goes before the backoff; and no row is looked at later than it expires."""
    assert after(SLOWER)["deferral"] == "rate"
    assert after(SLOWER)["dueAt"] >= NOW + timedelta(hours=9)
    assert after(SLOWER, expiresAt=NOW + timedelta(hours=1))["dueAt"] == NOW + timedelta(hours=1)


def test_one_that_was_replaced_meanwhile_is_not_tried_again() -> None:
    """It is cancelled, unless a target has it already."""
    assert (after(LATER, superseded=True)["state"], after(LATER, superseded=True)["reason"]) == (
        "cancelled",
        "superseded",
    )
    assert after(OK, LATER, superseded=True)["state"] == "sent"


def test_pauses_grow_and_are_drawn_at_random() -> None:
    """Full jitter: from nothing to twice as long each time, up to the longest."""
    drawn = [[rules.backoff(attempt) for _ in range(200)] for attempt in range(1, 20)]
    longest = [min(rules.LONGEST_PAUSE, rules.FIRST_PAUSE * 2**n) for n in range(19)]
    for pauses, most in zip(drawn, longest, strict=True):
        assert timedelta() <= min(pauses) < most / 4
        assert most / 2 < max(pauses) <= most


def test_a_row_keeps_the_last_attempts_alone() -> None:
    """A far end that is away for days does not make it grow."""
    (write,) = updates([settled(row(), [Try(LATER, NOW)], MOST, NOW)], NOW)
    written: Any = write._doc
    assert written[1]["$set"]["log"]["$slice"][1] == -KEPT_ATTEMPTS
