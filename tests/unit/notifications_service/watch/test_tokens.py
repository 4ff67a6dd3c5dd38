"""Resume tokens."""

from __future__ import annotations

import base64

import pytest
from bson import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from chassis.keyring import Keyring
from chassis.watching.errors import ResumeTokenInvalid
from notifications_service.notification.filters import EVERYTHING, Filter
from notifications_service.watch.changes import ResumePoint, StreamPosition
from notifications_service.watch.tokens import ResumeTokens

OLD, NEW = ("id:" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
TOKENS = ResumeTokens(Keyring.parse(OLD))

positions = st.binary(min_size=9, max_size=120).map(lambda data: StreamPosition(data.hex().upper()))
numbers = st.integers(1, 2**32 - 1)
floors = st.none() | st.builds(Timestamp, numbers, numbers)


@given(st.text(min_size=1, max_size=50), st.builds(ResumePoint, positions, floors))
def test_a_token_gives_back_its_place(user_id: str, place: ResumePoint) -> None:
    """Position and floor survive, whatever the user's id is, within the length that the contract allows."""
    token = TOKENS.issue(user_id, place)
    assert TOKENS.read(user_id, token) == place
    assert len(token) <= 2048


@given(st.data())
def test_no_changed_token_is_read(data: st.DataObject) -> None:
    """Every change of a character, cut or addition is refused."""
    token = TOKENS.issue("user", ResumePoint(StreamPosition("82" + "AB" * 40)))
    at = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.characters(codec="utf-8"))
    for forged in (token[:at] + other + token[at + 1 :], token[:at], token + other):
        if forged != token:
            with pytest.raises(ResumeTokenInvalid):
                TOKENS.read("user", forged)


def test_tokens_of_a_retired_key_hold_while_it_is_on_the_ring() -> None:
    """Keys rotate without cutting off the watchers."""
    place = ResumePoint(StreamPosition("82" + "AB" * 40))
    token = TOKENS.issue("user", place)
    rotated = Keyring.parse(f"new:{NEW.removeprefix('id:')},{OLD}")
    assert ResumeTokens(rotated).read("user", token) == place
    with pytest.raises(ResumeTokenInvalid):
        ResumeTokens(Keyring.parse(NEW)).read("user", token)
    with pytest.raises(ResumeTokenInvalid):
        TOKENS.read("someone else", token)


conditions = st.lists(st.text(max_size=5), max_size=3, unique=True).map(tuple)
chosen_filters = st.builds(Filter, types=conditions, categories=conditions)


@given(st.text(max_size=20), st.text(max_size=20), chosen_filters, chosen_filters)
def test_a_token_is_read_only_for_its_user_and_its_filter(user: str, other: str, mine: Filter, theirs: Filter) -> None:
    """Whatever the ids and the values are, none is taken for another; the order of the values says nothing."""
    place = ResumePoint(StreamPosition("82" + "AB" * 40))
    token = TOKENS.issue(user, place, mine)
    turned = Filter(types=mine.types[::-1], categories=mine.categories[::-1])
    assert TOKENS.read(user, token, turned) == place
    same = {frozenset(mine.types): frozenset(mine.categories)} == {
        frozenset(theirs.types): frozenset(theirs.categories)
    }
    if user == other and same:
        assert TOKENS.read(other, token, theirs) == place
    else:
        with pytest.raises(ResumeTokenInvalid):
            TOKENS.read(other, token, theirs)
    if mine != EVERYTHING:
        with pytest.raises(ResumeTokenInvalid):
            TOKENS.read(user, token)
