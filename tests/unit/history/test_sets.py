"""The checks of what was made, of what was told and of codes find what is wrong, and nothing else."""

from __future__ import annotations

from typing import Final

import pytest

from tests.harness.history.record import Call, Change, Creation, History, Operation, Removal, Stored, Told
from tests.harness.history.verdict import judge


def promises(_: str) -> frozenset[str]:
    """Return what each RPC was promised to answer."""
    return frozenset({"USER_NOT_FOUND", "INTERNAL"})


STORED: Final = Stored({"users": {"user_1": "n1", "user_2": "n2"}})
MADE: Final = Creation("users", "n1", request_id="r1", ids=("user_1",), echoed=("n1",))


def broken(history: History, stored: Stored = STORED) -> set[str]:
    """Return the names of the checks that a history breaks."""
    return set(judge(history, stored, promises).broken)


def test_a_good_history() -> None:
    """What is there once, is its caller's, and was told once breaks nothing."""
    told = [Told("a", "created", "user_1", 1), Told("a", "changed", "user_1", 2), Told("a", "deleted", "user_1")]
    history = History(
        calls=[Call("S/M", 0, 1), Call("S/M", 0, 1, "NOT_FOUND", "USER_NOT_FOUND"), Call("S/M", 0, 1, "UNAVAILABLE")],
        creations=[MADE, MADE, Creation("users", "n2", ids=None), Creation("users", "n3", ids=None)],
        removals=[Removal("users", "user_9", known=True), Removal("users", "user_1", known=False)],
        told=told,
        changes=[Change("changed", "user_1", 2, ("a",))],
    )
    verdict = judge(history, STORED, promises)
    assert verdict.holds
    assert verdict.checked == {"calls": 3, "effects": 6, "events": 3, "keys": 0}


@pytest.mark.parametrize(
    ("creations", "removals", "check"),
    [
        ([Creation("users", "n9", ids=("user_9",))], [], "lost"),
        ([], [Removal("users", "user_1", known=True)], "lost"),
        ([Creation("users", "n1", rows=3, ids=None)], [], "lost"),
        ([MADE, Creation("users", "n1", request_id="r1", ids=("user_9",))], [], "doubled"),
        ([Creation("users", "n1", ids=("user_2",))], [], "foreign"),
        ([Creation("users", "n1", ids=("user_1",), echoed=("n2",))], [], "foreign"),
    ],
)
def test_a_wrong_effect(creations: list[Creation], removals: list[Removal], check: str) -> None:
    """What is gone, came back, came in part or twice, or went to another caller is found."""
    assert check in broken(History(creations=creations, removals=removals))


def test_two_rows_of_one_call() -> None:
    """A call of which nobody heard may not take effect twice either."""
    twice = Stored({"users": {"user_1": "n1", "user_2": "n1"}})
    assert broken(History(creations=[Creation("users", "n1")]), twice) == {"doubled"}
    assert broken(History(creations=[Creation("users", "n1", rows=2)]), twice) == set()


def test_what_was_removed_by_one_of_two_calls_is_not_lost_by_the_other() -> None:
    """Two made the same with one request_id; one knows what, and removed a part; the other was never answered."""
    both = [Creation("users", "n1", "r1", 2, ("user_1", "user_8")), Creation("users", "n1", "r1", 2)]
    removed = [Removal("users", "user_8", known=True)]
    assert broken(History(creations=both, removals=removed)) == set()
    assert broken(History(creations=both[1:], removals=removed)) == {"lost"}


@pytest.mark.parametrize(
    "told",
    [
        [Told("a", "created", "x", 1), Told("a", "created", "x", 1)],
        [Told("a", "updated", "x", 2)],
        [Told("a", "updated", "x", 2), Told("a", "created", "x", 1)],
        [
            Told("a", "created", "x", 1),
            Told("a", "created", "y", 1),
            Told("b", "created", "y", 1),
            Told("b", "created", "x", 1),
        ],
    ],
    ids=["twice", "not", "backwards", "otherwise"],
)
def test_a_wrong_watch(told: list[Told]) -> None:
    """What a watcher is told twice, not at all, or in an order that is none is found."""
    assert broken(History(told=told, changes=[Change("created", "x", 1, ("a",))])) == {"watch"}


@pytest.mark.parametrize(
    ("code", "reason"), [("INTERNAL", "INTERNAL"), ("UNKNOWN", ""), ("NOT_FOUND", "SESSION_NOT_FOUND")]
)
def test_a_code_that_nobody_was_promised(code: str, reason: str) -> None:
    """Defects, errors without a reason that are not gRPC's own, and reasons that the contract has elsewhere count."""
    assert broken(History(calls=[Call("S/M", 0, 1, code, reason)])) == {"codes"}


def test_an_order_is_searched_for_each_object() -> None:
    """Each object is judged by itself, and a verdict says of how many."""
    consumed = [
        Operation("verification", key, name, {}, {"outcome": "ok"}, begun, begun + 1)
        for key, name, begun in (
            ("one", "create", 0),
            ("one", "consume", 2),
            ("one", "consume", 4),
            ("two", "create", 0),
        )
    ]
    verdict = judge(History(operations=consumed), STORED, promises)
    assert list(verdict.broken) == ["order"]
    assert len(verdict.broken["order"]) == 1
    assert verdict.checked["keys"] == 2
