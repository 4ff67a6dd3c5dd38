"""Ids: form, order, time, and the exact layout of UUIDv7 in Crockford base32."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.contract import ids


def test_ids_grow_and_never_repeat() -> None:
    """Ids made one after the other sort in that order, also within a millisecond."""
    made = [ids.new_id("user") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_an_id_is_a_uuid7_of_now() -> None:
    """The suffix decodes to an RFC 9562 UUID, version 7, with the time of creation."""
    made = ids.new_id("sess")
    value = uuid.UUID(int=ids.decode(made.removeprefix("sess_")))
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert abs(ids.created_at(made) - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_clock_that_steps_back_does_not_disorder_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a correction of the clock, ids still grow."""
    generator = ids.IdGenerator()
    before = generator.new("user")
    monkeypatch.setattr(ids, "time_ns", lambda: 1_000_000_000)
    assert generator.new("user") > before


def test_the_known_vector_of_typeid() -> None:
    """The encoding is that of the TypeID specification, so that other tools read our ids."""
    value = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057").int
    assert ids.encode(value) == "01h455vb4pex5vsknk084sn02q"


@given(st.integers(0, 2**128 - 1))
def test_every_value_comes_back(value: int) -> None:
    """Encoding loses nothing and always has the pattern."""
    assert ids.decode(ids.encode(value)) == value


@pytest.mark.parametrize(
    "text",
    ["", "user_", "user_8" + "z" * 25, "user_" + "u" * 26, "acct_" + "0" * 26, "user_" + "0" * 25, "user" + "0" * 26],
)
def test_what_is_not_an_id_is_told(text: str) -> None:
    """Another prefix, a wrong letter, a wrong length and more than 128 bits are no ids."""
    assert not ids.is_id(text, "user")
    assert ids.is_id("user_" + "0" * 26, "user")
