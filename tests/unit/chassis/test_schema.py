"""What a database lacks, in words: one line that names it and the command that helps."""

from __future__ import annotations

import pytest

from chassis.schema import SchemaLacking, SchemaState

CURE = "run `x-service migrate up`"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (SchemaState(pending=("0001", "0002")), f"the schema is not migrated: {CURE}"),
        (SchemaState(("0001",), ("0002",)), f"the schema is older than this version, without 0002: {CURE}"),
        (
            SchemaState(("1",), ("2", "3", "4", "5", "6")),
            f"the schema is older than this version, without 2, 3, 4 and 2 more: {CURE}",
        ),
        (SchemaState(("0001",), missing=("key a.b",)), f"the schema lacks key a.b: {CURE}"),
        (
            SchemaState(("0001",), unknown=("0009",), missing=("key a.b",)),
            "the schema is newer than this version (0009) and lacks what this version needs: key a.b",
        ),
    ],
)
def test_what_keeps_from_serving_is_named(state: SchemaState, says: str) -> None:
    """An operator reads what is missing, and what to run; where running it would not help, it is not said."""
    with pytest.raises(SchemaLacking) as caught:
        state.require("x-service")
    assert str(caught.value) == says


@pytest.mark.parametrize("state", [SchemaState(("0001",)), SchemaState(("0001",), unknown=("0002",))])
def test_equal_or_newer_is_served(state: SchemaState) -> None:
    """Two versions of the code run on one schema while it is rolled out, or rolled back."""
    state.require("x-service")
