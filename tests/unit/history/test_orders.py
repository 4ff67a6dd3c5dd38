"""The search for an order finds one where there is one, and none where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.history.models import INVALID, MISMATCH, MISSING, MODELS, OK, REGISTER, SESSION, VERIFICATION
from tests.harness.history.record import Operation
from tests.harness.history.search import Order, search
from tests.unit.history.written import RIGHT, history_of, ok, operation

KINDS: Final = sorted(RIGHT)
SEEDS: Final = st.integers(0, 2**32)


def order_of(operations: list[Operation], limit: int = 100_000) -> Order:
    """Search for an order of operations on one object."""
    return search(MODELS[operations[0].kind], operations, limit)


@given(kind=st.sampled_from(KINDS), seed=SEEDS, overlap=st.floats(0, 6), unheard=st.sampled_from([0, 0.1, 0.3]))
def test_what_a_right_object_does_has_an_order(kind: str, seed: int, overlap: float, unheard: float) -> None:
    """However operations overlap, and whatever answers are lost, a right object is not accused."""
    assert order_of(history_of(kind, seed, 30, overlap=overlap, unheard=unheard)) is Order.FOUND


def mutants(history: list[Operation], number: int) -> list[Operation]:
    """Return what the answer of an operation may not be."""
    right = history[number]
    told = dict(right.told or {})
    others: list[dict[str, str]] = []
    if right.kind == REGISTER:
        wrong = {**told, "etag": "9999"} if right.name == "read" else {"outcome": OK, "etag": right.given["etag"]}
        others = [wrong, {"outcome": MISSING}]
        if right.name == "write":
            others.append({"outcome": OK, "etag": "9999"} if told["outcome"] == MISMATCH else {"outcome": MISMATCH})
        else:
            others.append({**told, "value": "nobody's"})
    elif right.kind == VERIFICATION:
        others = [{"outcome": INVALID} if told["outcome"] == OK else {"outcome": OK}]
    elif right.name != "revoke":
        others = [{"outcome": INVALID} if told["outcome"] == OK else {"outcome": OK, "token": ""}]
        if right.name == "refresh" and told.get("token"):
            others.append({"outcome": OK, "token": ""})
        elif right.name == "refresh" and told["outcome"] == OK:
            others.append({"outcome": OK, "token": "another"})
    return [replace(right, told=other) for other in others]


@given(kind=st.sampled_from(KINDS), seed=SEEDS)
def test_a_wrong_answer_is_found(kind: str, seed: int) -> None:
    """Of operations one after the other, any one whose answer is another than it was leaves no order."""
    history = history_of(kind, seed, 12, overlap=0, unheard=0)
    for number in range(1, len(history)):
        for wrong in mutants(history, number):
            assert order_of([*history[:number], wrong, *history[number + 1 :]]) is Order.NONE, wrong


@given(kind=st.sampled_from(KINDS), seed=SEEDS, unheard=st.sampled_from([0, 0.3]))
def test_a_state_that_never_was_is_found(kind: str, seed: int, unheard: float) -> None:
    """However operations overlap, what is answered in the end must have come about."""
    history = history_of(kind, seed, 12, overlap=4, unheard=unheard)
    last = {
        REGISTER: operation(REGISTER, "read", ok(value="nobody's", etag="2"), 100, 101),
        SESSION: operation(SESSION, "validate", ok(), 100, 101, token="nobody's"),
        VERIFICATION: operation(VERIFICATION, "create", ok(), 100, 101),
    }
    assert order_of([*history, last[kind]]) is Order.NONE


CREATED: Final = operation(REGISTER, "create", ok(etag="1"), 0, 1, value="first")


def written(number: int, etag: str, begun: float, ended: float) -> Operation:
    """A write that took effect."""
    return operation(REGISTER, "write", ok(etag=str(number + 1)), begun, ended, value=f"value {number}", etag=etag)


def test_two_writes_over_one_state() -> None:
    """Of two writes with one etag that overlap, one may take effect."""
    assert order_of([CREATED, written(1, "1", 2, 5), written(2, "1", 3, 6)]) is Order.NONE
    refused = operation(REGISTER, "write", {"outcome": MISMATCH}, 3, 6, value="value 2", etag="1")
    assert order_of([CREATED, written(1, "1", 2, 5), refused]) is Order.FOUND


def test_a_read_of_what_was() -> None:
    """A read that began after a write had been acknowledged does not return what was before it."""
    stale = operation(REGISTER, "read", ok(value="first", etag="1"), 4, 5)
    assert order_of([CREATED, written(1, "1", 2, 3), stale]) is Order.NONE
    assert order_of([CREATED, written(1, "1", 2, 4.5), stale]) is Order.FOUND


def test_a_write_that_nobody_heard_of_is_taken_back() -> None:
    """What an unknown write left may be read or not, but not read and then be gone."""
    unheard = operation(REGISTER, "write", None, 2, value="value 1", etag="1")
    new, old = (
        operation(REGISTER, "read", ok(value=value, etag=etag), begun, begun + 1)
        for value, etag, begun in (("value 1", "2", 3), ("first", "1", 5))
    )
    assert order_of([CREATED, unheard, new]) is Order.FOUND
    assert order_of([CREATED, unheard, old]) is Order.FOUND
    assert order_of([CREATED, unheard, new, old]) is Order.NONE


def test_a_deleted_register() -> None:
    """What was deleted is there no more."""
    deleted = operation(REGISTER, "delete", ok(), 2, 3, etag="1")
    missing = operation(REGISTER, "read", {"outcome": MISSING}, 4, 5)
    read = operation(REGISTER, "read", ok(value="first", etag="1"), 4, 5)
    assert order_of([CREATED, deleted, missing]) is Order.FOUND
    assert order_of([CREATED, deleted, read]) is Order.NONE
    assert order_of([CREATED, missing]) is Order.NONE


SIGNED_IN: Final = operation(SESSION, "create", ok(token="a"), 0, 1)


def refresh(told: dict[str, str] | None, begun: float, ended: float) -> Operation:
    """A refresh that is to replace the first token."""
    asked = {"token": "a", "rotate": "yes"}
    return Operation(SESSION, "key", "refresh", asked, told, begun, ended)


def test_a_token_is_replaced_once() -> None:
    """Of two that replace one token at once, one does, and the other is told that it did not."""
    first = refresh({"outcome": OK, "token": "b"}, 2, 4)
    assert order_of([SIGNED_IN, first, refresh({"outcome": OK, "token": "c"}, 3, 5)]) is Order.NONE
    assert order_of([SIGNED_IN, first, refresh({"outcome": OK, "token": ""}, 3, 5)]) is Order.FOUND


@pytest.mark.parametrize("name", ["validate", "refresh"])
def test_a_revoked_session_comes_back(name: str) -> None:
    """Nothing opens a session after its end, and a refresh does not bring it back."""
    revoked = operation(SESSION, "revoke", ok(), 2, 3)
    after = operation(SESSION, name, ok(token=""), 4, 5, token="a", rotate="no")
    assert order_of([SIGNED_IN, revoked, after]) is Order.NONE
    unheard = operation(SESSION, "revoke", None, 2)
    assert order_of([SIGNED_IN, unheard, after]) is Order.FOUND


def test_a_secret_is_consumed_twice() -> None:
    """At most one of several who consume a secret at once succeeds, and somebody does before anybody is refused."""
    created = operation(VERIFICATION, "create", ok(), 0, 1)
    good, refused = ({"outcome": OK}, {"outcome": INVALID})
    one, other = (operation(VERIFICATION, "consume", good, 2, 4), operation(VERIFICATION, "consume", good, 3, 5))
    assert order_of([created, one, other]) is Order.NONE
    assert order_of([created, one, operation(VERIFICATION, "consume", refused, 3, 5)]) is Order.FOUND
    assert order_of([created, operation(VERIFICATION, "consume", refused, 3, 5)]) is Order.NONE


def test_a_search_that_takes_too_long_says_so() -> None:
    """A search that has seen as many states as it may gives no verdict."""
    history = history_of(REGISTER, 1, 30, overlap=6, unheard=0.3)
    assert order_of(history, limit=5) is Order.UNDECIDED
