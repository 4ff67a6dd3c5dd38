"""Point reads: one SELECT for many values of a unique column, in few shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from chassis.context.statements import naming
from users_service.mysql.database import Database

# Lists are padded to one of these lengths, so that the server sees few different statements.
LENGTHS: Final = (1, 4, 16, 64, 256)


class PointRead:
    """A SELECT that ends in ``IN``, for at most 256 values at a time; ``name``: its name in logs and traces."""

    def __init__(self, database: Database, name: str, statement: str) -> None:
        self.name: Final = name
        self._database = database
        self._statements = {length: f"{statement} ({', '.join(['%s'] * length)})" for length in LENGTHS}

    async def read(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of the values, in no order."""
        length = next(length for length in LENGTHS if length >= len(values))
        filled = (*values, *[values[-1]] * (length - len(values)))
        with naming(self.name):
            return await self._database.read(self._statements[length], filled)

    async def read_all(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of any number of values, in no order, with a statement for each 256 of them."""
        chunks = (values[start : start + LENGTHS[-1]] for start in range(0, len(values), LENGTHS[-1]))
        return [row for chunk in chunks for row in await self.read(chunk)]
