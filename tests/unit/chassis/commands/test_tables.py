"""Tables for a terminal, and what becomes of one that has less room than they take."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chassis.commands.tables import room, table

INDEX = "idx_of_notifications_by_user_and_state"
KEYS = "userId 1, archivedAt 1, readAt 1, seenAt 1, createdAt -1, _id -1, expiresAt 1"
ROWS: list[dict[str, Any]] = [
    {"collection": "notifications", "index": INDEX, "keys": KEYS, "size_bytes": 2_048, "uses": 1_234_567},
    {"collection": "users", "index": "_id_", "keys": "_id 1", "size_bytes": None, "uses": 5},
]


def test_nothing_is_wrapped_where_there_is_room() -> None:
    """A table that fits, and one that no terminal shows, has a line for each row: programs may read it by lines."""
    assert len(table(ROWS)) == 3
    assert table(ROWS, 500) == table(ROWS)


@pytest.mark.parametrize("columns", [30, 40, 80, 100])
def test_a_table_fits_the_terminal_and_keeps_all_that_it_tells(columns: int) -> None:
    """Texts are wrapped, numbers are whole, and no character of a value is lost."""
    lines = table(ROWS, columns)
    assert max(map(len, lines)) <= columns
    assert any("1,234,567" in line for line in lines)
    said = re.sub(r"\s", "", "".join(lines))
    for text in ("notifications", "users"):
        assert text[:8] in said
    if columns >= 80:
        assert re.sub(r"\s", "", KEYS) in said


def test_a_text_of_more_than_half_a_line_stands_below_its_row() -> None:
    """A statement of three hundred characters leaves the numbers beside each other."""
    rows = [{"count": 3, "total_ms": 150, "statement": "SELECT " + "a_column, " * 9}, {"count": 1, "statement": "x"}]
    assert table(rows, 40) == [
        "count  total ms",
        "    3       150",
        "    SELECT a_column, a_column, a_column,",
        "    a_column, a_column, a_column,",
        "    a_column, a_column, a_column,",
        "    1         -",
        "    x",
    ]


def test_more_numbers_than_fit_stand_one_below_the_other() -> None:
    """A terminal of a few columns still shows all."""
    rows = [{f"number_{at}": 1_000_000 + at for at in range(4)}]
    assert table(rows, 25) == [f"number {at}: 1,000,00{at}" for at in range(4)]


def test_only_a_terminal_has_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to a file or a program is not wrapped, whatever COLUMNS says."""
    monkeypatch.setenv("COLUMNS", "72")
    assert room() is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert room() == 72
