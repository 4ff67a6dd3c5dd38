"""Columns by which rows are found, and how they are compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, String, UniqueConstraint, select
from sqlalchemy.dialects import mysql

from users_service.keys import Key, as_foreign_key
from users_service.tables import metadata, sessions, users


def text_of_keys() -> Iterator[Column[str]]:
    """Yield every text column of a primary, unique or foreign key."""
    for table in metadata.tables.values():
        kinds = PrimaryKeyConstraint | UniqueConstraint | ForeignKeyConstraint
        keys = [item.columns for item in table.constraints if isinstance(item, kinds)]
        keys += [index.columns for index in table.indexes if index.unique]
        for column in table.columns:
            if isinstance(column.type, String) and any(key.contains_column(column) for key in keys):
                yield column


@pytest.mark.parametrize("column", list(text_of_keys()), ids=str)
def test_text_of_a_key_compares_whole(column: Column[str]) -> None:
    """A new table cannot forget it: what a collation takes for the same is not the same row."""
    assert isinstance(column.type, Key)


def test_a_comparison_is_the_collations_and_the_bytes() -> None:
    """The first has the index, the second the last word; both have the value, which may differ in every call."""
    dialect = mysql.dialect()
    compiled = select(users.c.name).where(users.c.id == "user_1").compile(dialect=dialect)
    where = "users.id = %s AND CAST(users.id AS BINARY) = CAST(%s AS BINARY)"
    assert str(compiled).endswith(where)
    assert list(compiled.params.values()) == ["user_1"]


def test_a_deletion_compares_as_the_foreign_key_does() -> None:
    """Rows that a foreign key takes for children of the row are among those that go with it."""
    assert str(as_foreign_key(sessions.c.user_id, "user_1")) == "sessions.user_id = :param_1"
