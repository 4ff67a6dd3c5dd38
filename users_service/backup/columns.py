"""The columns of a table that are stored, and how the server writes their values: as literals, and to be hashed.

A type that is not known here is refused: what nobody has tried may come back as something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chassis.backup.errors import BackupFailed
from users_service.backup.connection import Connection

_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"})
_FLOATS: Final = frozenset({"float", "double"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
# Their bytes are the server's own form, which begins with the reference system; it takes them back as they are.
_SHAPES: Final = frozenset(
    {
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    }
)
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
# Values that the server writes as text of its own, and reads back.
_WRITTEN: Final = frozenset({"enum", "set", "date", "datetime", "timestamp", "time", "uuid", "inet4", "inet6"})
# Of these, a conversion to utf8mb4 and back gives the same bytes for whatever is stored.
_UNICODE: Final = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column whose values are stored: its name, the name of its type, and its character set or an empty text."""

    name: str
    kind: str
    character_set: str

    @property
    def literal(self) -> str:
        """The expression by which the server writes a value as a literal."""
        if self.kind == "json" or self.kind in _WRITTEN or self._is_unicode:
            return f"QUOTE({self._text})"
        if self.kind in _INTEGERS | _FLOATS | {"bit"}:
            return f"IFNULL({self._number}, 'NULL')"
        return f"IFNULL(CONCAT('X''', HEX(`{self.name}`), ''''), 'NULL')"

    @property
    def hashed(self) -> str:
        """The expression by which the server writes what is hashed of a value: digits that no character set changes."""
        if self.kind == "json":
            # What the text becomes when it is read again: a number that SQL put there may lose its type.
            return f"IFNULL(HEX(CONVERT(CAST({self._text} AS JSON) USING utf8mb4)), 'NULL')"
        if self.kind in _WRITTEN or self._is_unicode:
            return f"IFNULL(HEX({self._text}), 'NULL')"
        if self.kind in _INTEGERS | _FLOATS | {"bit"}:
            return self.literal
        return f"IFNULL(HEX(`{self.name}`), 'NULL')"

    @property
    def _is_unicode(self) -> bool:
        # Texts of other character sets pass as bytes: of some, two codes mean the same character.
        return self.kind in _TEXTS and self.character_set in _UNICODE

    @property
    def _text(self) -> str:
        # Of one character set, or columns of several would not stand beside each other in one text.
        return f"CONVERT(`{self.name}` USING utf8mb4)"

    @property
    def _number(self) -> str:
        if self.kind == "bit":
            return f"CAST(`{self.name}` AS UNSIGNED)"
        if self.kind in _FLOATS:
            # The server shortens a float to six digits; MySQL shortens what a function makes of a double to 22
            # characters, which is enough for a float. As a literal that is a double, so that zero keeps its sign.
            value = f"CAST(`{self.name}` AS DOUBLE)" if self.kind == "float" else f"`{self.name}`"
            return f"CONCAT({value}, IF(LOCATE('e', {value}), '', 'e0'))"
        return f"`{self.name}`"


_KNOWN: Final = _INTEGERS | _FLOATS | _BYTES | _SHAPES | _TEXTS | _WRITTEN | {"bit", "json"}


async def columns(connection: Connection, table: str) -> list[Column]:
    """Return the columns that are stored, in their order.

    Raises ``BackupFailed`` where there is none or one of an unknown type, or ``MySQLFailed``.
    """
    rows = await connection.rows(
        "SELECT column_name, data_type, character_set_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = %s AND COALESCE(generation_expression, '') = '' "
        "ORDER BY ordinal_position",
        table,
    )
    found = [Column(str(name), str(kind).lower(), str(charset or "").lower()) for name, kind, charset in rows]
    for column in found:
        if column.kind not in _KNOWN:
            raise BackupFailed(f"{table}.{column.name} is of the type {column.kind}, which a backup cannot hold")
    if not found:
        raise BackupFailed(f"{table} stores no column, which a backup cannot hold")
    return found
