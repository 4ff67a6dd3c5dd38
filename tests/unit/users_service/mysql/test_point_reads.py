"""Point reads: few shapes of statement, and every value in one of them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from users_service.mysql.database import Database
from users_service.mysql.point_reads import LENGTHS, PointRead


class Reader:
    """Answers each value that a statement asks for with a row, and keeps the statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def read(self, statement: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return a row for each distinct value."""
        assert statement.count("%s") == len(arguments)
        self.statements.append(statement)
        return [(value,) for value in dict.fromkeys(arguments)]


@pytest.mark.parametrize(("number", "statements"), [(1, 1), (2, 1), (4, 1), (5, 1), (256, 1), (257, 2), (1000, 4)])
async def test_every_value_is_asked_for_once(number: int, statements: int) -> None:
    """However many values there are, each is read, in statements of 256 at most."""
    reader = Reader()
    rows = await PointRead(cast("Database", reader), "t.read", "SELECT x FROM t WHERE x IN").read_all(
        list(range(number))
    )
    assert rows == [(value,) for value in range(number)]
    assert len(reader.statements) == statements


async def test_the_server_sees_few_different_statements() -> None:
    """Lists of any length are filled up to one of five lengths."""
    reader = Reader()
    read = PointRead(cast("Database", reader), "t.read", "SELECT x FROM t WHERE x IN")
    for number in range(1, 257):
        await read.read(range(number))
    assert len(set(reader.statements)) == len(LENGTHS)


async def test_nothing_is_asked_for_nothing() -> None:
    """No values, no statement."""
    reader = Reader()
    assert await PointRead(cast("Database", reader), "t.read", "SELECT x FROM t WHERE x IN").read_all([]) == []
    assert reader.statements == []
