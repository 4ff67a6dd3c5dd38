"""Progress of an adoption: a table of its own, made before anything else is changed and dropped at the end.

While it is there a run that was cut off is known as ours, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from users_service.migrations import table_definitions
from users_service.migrations.adoption.origins import KINDS, Origin, RowKind

TABLE: Final = "vibework_adoption"
_CREATE: Final = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
  kind VARCHAR(16) NOT NULL,
  origin VARCHAR(32) NOT NULL,
  position VARCHAR(255),
  adopted BIGINT NOT NULL DEFAULT 0,
  left_out BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (kind)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""
_BEGIN: Final = text(f"INSERT IGNORE INTO {TABLE} (kind, origin) VALUES (:kind, :origin)")  # noqa: S608
_ORIGIN: Final = text(f"SELECT origin FROM {TABLE} LIMIT 1")  # noqa: S608
_READ: Final = text(f"SELECT position, adopted, left_out FROM {TABLE} WHERE kind = :kind")  # noqa: S608
_ADVANCE: Final = text(
    f"UPDATE {TABLE} SET position = :position, adopted = adopted + :adopted, left_out = left_out + :left_out "  # noqa: S608
    "WHERE kind = :kind"
)


@dataclass(frozen=True, slots=True)
class Copied:
    """The part of a table that was copied: up to which id of theirs, and how many rows were adopted and left."""

    position: str | None
    adopted: int
    left_out: int


def begin(connection: Connection, origin: Origin) -> None:
    """Note that an adoption has begun; the same again after it was cut off here."""
    connection.exec_driver_sql(_CREATE)
    connection.execute(_BEGIN, [{"kind": kind, "origin": origin.name} for kind in KINDS])


def origin(connection: Connection) -> str | None:
    """Return whose tables are being adopted; None where none are."""
    if TABLE not in table_definitions.tables(connection):
        return None
    found = connection.scalar(_ORIGIN)
    return None if found is None else str(found)


def read(connection: Connection, kind: RowKind) -> Copied:
    """Return how much of a table was copied."""
    return Copied(*connection.execute(_READ, {"kind": kind}).one())


def advance(connection: Connection, kind: RowKind, to: Copied) -> None:
    """Add a batch, in the transaction that stores it; ``to``: the id of its last row, and its numbers."""
    values = {"kind": kind, "position": to.position, "adopted": to.adopted, "left_out": to.left_out}
    connection.execute(_ADVANCE, values)


def end(connection: Connection) -> None:
    """Forget the adoption: it is done."""
    connection.exec_driver_sql(f"DROP TABLE {TABLE}")
