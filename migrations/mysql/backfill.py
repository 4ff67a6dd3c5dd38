"""Changing the rows of a big table in a revision: in batches along the primary key, beside live traffic."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, text

# Each batch is a transaction of its own, and its rows are locked while it lasts.
ROWS = 1_000


def backfill(connection: Connection, table: str, assignments: str, where: str, *, key: str = "id") -> int:
    """Carry out ``UPDATE table SET assignments WHERE where`` a thousand rows at a time; return how many changed.

    ``where`` leaves out what is done (``display_name IS NULL``), so that a revision cut off in its middle goes on
    where it stopped. ``key``: the primary key, of one column. ``connection``: ``op.get_bind()``.
    """
    changed, after = 0, None
    while (last := _end_of_batch(connection, table, key, after)) is not None:
        started = time.monotonic()
        changed += _change(connection, f"UPDATE {table} SET {assignments} WHERE ({where})", key, (after, last))  # noqa: S608
        after = last
        # As long a rest as the work took: replicas follow, and others have half of the server's time at least.
        time.sleep(time.monotonic() - started)
    return changed


def _end_of_batch(connection: Connection, table: str, key: str, after: Any) -> Any:
    """Return the last key of the next batch; None where no row is left."""
    beyond = "" if after is None else f"WHERE {key} > :after"
    keys = f"SELECT {key} FROM {table} {beyond} ORDER BY {key} LIMIT {ROWS}"  # noqa: S608 - names from a revision
    return connection.scalar(
        text(f"SELECT MAX({key}) FROM ({keys}) AS batch"),  # noqa: S608
        {} if after is None else {"after": after},
    )


def _change(connection: Connection, update: str, key: str, span: tuple[Any, Any]) -> int:
    after, last = span
    condition = f"{key} <= :last" if after is None else f"{key} > :after AND {key} <= :last"
    values = {"last": last} if after is None else {"after": after, "last": last}
    return connection.execute(text(f"{update} AND {condition}"), values).rowcount
