"""Checksums of tables, computed independently by the server and from the text of a backup.

Each value is hashed as the hexadecimal digits of its bytes, in UTF-8 where it is text. So an error between the server
and its clients, such as of a character set or an escape, cannot affect both sides. The checksum of a row is the
beginning of a SHA-256 over its values; that of a table is the sum over its rows, in whatever order.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from users_service.backup.columns import BINARY, NUMBERS, columns, number
from users_service.backup.connection import Connection

_SEPARATOR: Final = ","
_NULL: Final = "NULL"
# 60 bits: the sum is exact on both sides.
_DIGITS: Final = 15
_INSERT: Final = re.compile(r"INSERT INTO `([^`]+)` \([^\n]*\) VALUES\n")
# NULL, binary, text, number: as ``dump`` writes them.
_LITERAL: Final = re.compile(r"(NULL)|X'([0-9A-F]*)'|'([^'\\]*(?:\\.[^'\\]*)*)'|([^,\s()']+)")
_ESCAPED: Final = re.compile(r"\\(.)")
_MEANT: Final = {"0": "\0", "Z": "\x1a", "n": "\n", "r": "\r"}


async def of_table(connection: Connection, table: str) -> str:
    """Return the checksum of a table in the database. Raises ``MySQLFailed``."""
    values = ", ".join(_hexadecimal(name, kind) for name, kind in (await columns(connection, table)).items())
    row = f"CONV(LEFT(SHA2(CONCAT_WS('{_SEPARATOR}', {values}), 256), {_DIGITS}), 16, 10)"
    total = await connection.value(
        f"SELECT SUM(CAST({row} AS DECIMAL(20))) FROM `{table}`"  # noqa: S608 - names of the schema
    )
    return str(total or 0)


def of_statements(statements: Iterable[str]) -> dict[str, str]:
    """Return the checksums of the values in INSERT statements, by table."""
    sums: Counter[str] = Counter()
    for statement in statements:
        if head := _INSERT.match(statement):
            rows = statement[head.end() :].split("\n")
            sums[head[1]] += sum(_number(row) for row in rows)
    return {table: str(total) for table, total in sums.items()}


def _hexadecimal(name: str, kind: str) -> str:
    if kind in NUMBERS:
        return number(name, kind)
    digits = f"HEX(`{name}`)" if kind in BINARY else f"HEX(CONVERT(`{name}` USING utf8mb4))"
    return f"IFNULL({digits}, '{_NULL}')"


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
