"""Comparison of table definitions: what servers show differently of one and the same column."""

from __future__ import annotations

import pytest

from users_service.migrations.table_definitions import _difference


def column(extra: str, default: str | None = None) -> tuple[str | None, ...]:
    """Make a row of SHOW FULL COLUMNS: Field, Type, Collation, Null, Key, Default, Extra."""
    return ("at", "timestamp(6)", None, "NO", "", default, extra)


@pytest.mark.parametrize(
    ("temporary", "there"),
    [
        ("", ""),
        ("NULL", ""),
        ("NULL", "DEFAULT_GENERATED"),
        ("on update CURRENT_TIMESTAMP(6)", "DEFAULT_GENERATED on update CURRENT_TIMESTAMP(6)"),
    ],
)
def test_one_column_is_shown_in_two_ways(temporary: str, there: str) -> None:
    """MySQL 9 shows extras of temporary tables otherwise; a half-done run of ours is not taken for another's."""
    assert _difference({"at": column(temporary)}, {"at": column(there)}) == ""


@pytest.mark.parametrize(
    ("temporary", "there"),
    [("NULL", "on update CURRENT_TIMESTAMP(6)"), ("on update CURRENT_TIMESTAMP(6)", ""), ("NULL", "auto_increment")],
)
def test_two_columns_differ(temporary: str, there: str) -> None:
    """What changes by itself, or counts by itself, is another column."""
    assert "column at differs in extra" in _difference({"at": column(temporary)}, {"at": column(there)})
    assert "differs in default" in _difference({"at": column("", "1")}, {"at": column("")})
