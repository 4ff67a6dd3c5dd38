"""The shapes of parameters: sizes, and nothing of what is in them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.telemetry import shapes


def test_the_parameters_of_sql_are_told_by_type_and_size() -> None:
    """Those alike in a row as one, so that a list of 256 keys is one entry."""
    values = ("a" * 36, "b" * 36, b"x" * 32, 7, None, datetime.now(UTC), True)
    assert shapes.of(values) == ["str[36] x2", "bytes[32]", "int", "NoneType", "datetime", "bool"]
    assert shapes.of(["k"] * 256) == ["str[1] x256"]
    assert shapes.of({"name": "value"}) == ["str[5]"]
    assert shapes.of(()) == shapes.of(None) == []


def test_very_many_parameters_are_cut_short() -> None:
    """A line of the log stays a line."""
    assert shapes.of(["x" * number for number in range(100)])[-1] == "84 more"


def test_the_fields_of_a_command_are_told_by_name_and_size() -> None:
    """Long lists inside are what makes a command slow, so the longest is told; names inside are not."""
    command = {"find": "notifications", "filter": {"_id": {"$in": [1, 2, 3]}, "secret": "x"}, "limit": 20}
    assert shapes.of_command(command) == {"find": "str[13]", "filter": "document[2] with list[3]", "limit": "int"}
    assert shapes.of_command({"pipeline": [{}, {}]}) == {"pipeline": "list[2]"}


TEXT = st.text(min_size=5, alphabet="PLANTED")
DOCUMENTS = st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


# Time says nothing here: the machine may be busy.
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DOCUMENTS), st.dictionaries(st.sampled_from(["filter", "documents"]), DOCUMENTS))
def test_no_value_is_ever_told(values: list[object], command: dict[str, object]) -> None:
    """Whatever the parameters hold, however deep, none of it is in the shape."""
    told = repr(shapes.of(values)) + repr(shapes.of_command(command))
    assert not any(letter in told for letter in "PLAED")
