"""Shapes of SQL statements: what is the same for every value, and no value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users_service.status.shapes import LENGTH, shape


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a FROM t1 WHERE b = 'it''s' AND c = -1.5e-3", "SELECT a FROM t1 WHERE b = ? AND c = -?"),
        ("SELECT * FROM t WHERE id IN ('a', 'b',\n 'c')", "SELECT * FROM t WHERE id IN (?…)"),
        ("INSERT INTO t (a, b) VALUES (1, x'ff'), (2, _binary 'b')", "INSERT INTO t (a, b) VALUES (?…)…"),
        ("UPDATE `we'ird` SET a = \"x\" /* 'c' */ WHERE b = 0xff -- 'd'", "UPDATE `we'ird` SET a = ? WHERE b = ?"),
        ("SELECT idx_1, utf8mb4_bin FROM t LIMIT 10", "SELECT idx_1, utf8mb4_bin FROM t LIMIT ?"),
        ("SELECT 'cut off", "SELECT ?"),
        ("SELECT 'a\\' , 'secret' FROM t", "SELECT ? …"),
    ],
)
def test_shape(statement: str, expected: str) -> None:
    """Texts, numbers and lists are gone; names stay; where a text's end is in doubt, the rest is gone too."""
    assert shape(statement) == expected


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.booleans())
def test_no_value_is_ever_in_a_shape(values: list[str], double: bool) -> None:
    """Whatever a value holds, the shape is the same, or cut off before it."""
    quote = '"' if double else "'"
    escaped = [value.replace("\\", "\\\\").replace(quote, quote * 2) for value in values]
    found = shape("SELECT a FROM t WHERE " + " AND ".join(f"b = {quote}{value}{quote}" for value in escaped))
    whole = "SELECT a FROM t WHERE " + " AND ".join(["b = ?"] * len(values))
    assert found == whole or (found.endswith(" …") and whole.startswith(found.removesuffix(" …")))


def test_shapes_are_short() -> None:
    """A statement of any length takes a line or three."""
    assert len(shape("SELECT " + ", ".join(f"column_{number}" for number in range(1_000)))) == LENGTH
