"""Checksums of tables, computed independently by the server and from the text of a backup.

Each value is hashed as the hexadecimal digits of its bytes, in UTF-8 where it is text. So an error between the server
and its clients, such as of a character set or an escape, cannot affect both sides. The checksum of a row is the
beginning of a SHA-256 over its values; that of a table is the sum over its rows, in whatever order.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Final

from users_service.backup.columns import columns
from users_service.backup.connection import Connection
from users_service.backup.statements import StatementReader

_SEPARATOR: Final = ","
# 60 bits: the sum is exact on both sides.
_DIGITS: Final = 15
_INSERT: Final = re.compile(r"INSERT INTO `([^`]+)` \([^\n]*\) VALUES\n")
# NULL, binary, text, number: as ``dump`` writes them.
_LITERAL: Final = re.compile(r"(NULL)|X'([0-9A-F]*)'|'([^'\\]*(?:\\.[^'\\]*)*)'|([^,\s()']+)")
_ESCAPED: Final = re.compile(r"\\(.)")
_MEANT: Final = {"0": "\0", "Z": "\x1a", "n": "\n", "r": "\r"}


async def of_table(connection: Connection, table: str) -> str:
    """Return the checksum of a table in the database. Raises ``MySQLFailed``."""
    values = ", ".join([column.hashed for column in await columns(connection, table)])
    row = f"CONV(LEFT(SHA2(CONCAT_WS('{_SEPARATOR}', {values}), 256), {_DIGITS}), 16, 10)"
    total = await connection.value(
        f"SELECT SUM(CAST({row} AS DECIMAL(20))) FROM `{table}`"  # noqa: S608 - names of the schema
    )
    return str(total or 0)


class StatementSums:
    """The checksums of the values in INSERT statements, by table, of SQL text that comes in pieces."""

    def __init__(self) -> None:
        self._reader = StatementReader()
        self._sums: Counter[str] = Counter()

    def hear(self, piece: bytes) -> None:
        """Take the next piece of the text. Raises ``NoStatement``."""
        for statement in self._reader.feed(piece):
            if head := _INSERT.match(statement):
                rows = statement[head.end() :].split("\n")
                self._sums[head[1]] += sum(_number(row) for row in rows)

    def totals(self) -> dict[str, str]:
        """Return the checksums, once the text has ended. Raises ``NoStatement`` where it ended within a statement."""
        self._reader.end()
        return {table: str(total) for table, total in self._sums.items()}


def _number(row: str) -> int:
    values = _SEPARATOR.join([_digits(*literal) for literal in _LITERAL.findall(row)])
    return int(hashlib.sha256(values.encode()).hexdigest()[:_DIGITS], 16)


def _digits(null: str, binary: str, text: str, numeral: str) -> str:
    if text:
        if "\\" in text:
            text = _ESCAPED.sub(_unescaped, text)
        return text.encode().hex().upper()
    # At most one of these is set; for an empty text none is.
    return null or binary or numeral


def _unescaped(found: re.Match[str]) -> str:
    return _MEANT.get(found[1], found[1])
