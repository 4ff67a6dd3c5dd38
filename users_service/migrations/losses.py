"""Data loss in downgrades: a table that holds rows is dropped only with ``--drop-data``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, event, text

from chassis.commands.migrations import WouldLose
from users_service.migrations.online import without_noise
from users_service.migrations.table_definitions import tables

_DROP: Final = re.compile(
    r"\s*DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<names>.+?)(?:\s+(?:RESTRICT|CASCADE))?\s*;?\s*",
    re.IGNORECASE | re.DOTALL,
)
_TRUNCATE: Final = re.compile(r"\s*TRUNCATE\s+(?:TABLE\s+)?(?P<names>\S+?)\s*;?\s*", re.IGNORECASE)


def dropped(statement: str) -> list[str]:
    """Return the tables that a statement drops or empties."""
    bare = without_noise(statement)
    found = _DROP.fullmatch(bare) or _TRUNCATE.fullmatch(bare)
    return [name.replace("`", "").strip().rpartition(".")[2] for name in found["names"].split(",")] if found else []


def refuse(connection: Connection, names: Sequence[str]) -> None:
    """Raise WouldLose where one of the tables exists and holds rows."""
    there = tables(connection) & set(names)
    # The names are those of existing tables.
    full = sorted(name for name in there if connection.scalar(text(f"SELECT 1 FROM `{name}` LIMIT 1")))  # noqa: S608
    if full:
        raise WouldLose(full)


@contextmanager
def refused(connection: Connection) -> Iterator[None]:
    """Refuse, inside the block, each statement that drops rows. Raises WouldLose before it is carried out."""

    def check(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if names := dropped(statement):
            refuse(connection, names)

    event.listen(connection, "before_cursor_execute", check)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", check)
