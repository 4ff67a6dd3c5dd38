"""Statements on the other system's tables: their rows in batches, and what they have twice. Nothing is locked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, text

from users_service.credentials.model import CREDENTIAL
from users_service.migrations.adoption.origins import Layout, Origin, RowKind

BATCH: Final = 1_000


def batches(connection: Connection, origin: Origin, kind: RowKind, after: Any = None) -> Iterator[Sequence[RowMapping]]:
    """Return all rows of a table behind the id ``after``, by the names that columns have here.

    Rows that belong to a user also have ``owner``: the id as the user's own row spells it; None where there is no such
    row, since not every database of theirs has foreign keys. ``owner_banned`` and ``owner_ban_expires``: of that user.
    """
    select = _select(origin, kind)
    key = f"t.`{origin.layouts[kind].column('id')}`"
    while True:
        beyond = "" if after is None else f"WHERE {key} > :after"
        statement = text(f"{select} {beyond} ORDER BY {key} LIMIT {BATCH}")
        rows = connection.execute(statement, {} if after is None else {"after": after}).mappings().all()
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


def doubled(connection: Connection, origin: Origin, kind: RowKind) -> tuple[str, str] | None:
    """Return two ids of rows of which only one could be stored here; None where there are none."""
    expressions = _unique(origin, kind)
    key = f"t.`{origin.layouts[kind].column('id')}`"
    statement = text(
        f"SELECT MIN({key}), MAX({key}) FROM {_from(origin, kind)} GROUP BY {', '.join(expressions)} "  # noqa: S608
        "HAVING COUNT(*) > 1 LIMIT 1"
    )
    row = connection.execute(statement).first()
    return None if row is None else (str(row[0]), str(row[1]))


def count(connection: Connection, layout: Layout) -> int:
    """Return how many rows a table has."""
    return int(connection.scalar(text(f"SELECT COUNT(*) FROM `{layout.table}`")) or 0)  # noqa: S608


def _select(origin: Origin, kind: RowKind) -> str:
    columns = [f"t.`{theirs}` AS {ours}" for ours, theirs in origin.layouts[kind].columns.items()]
    owner = [] if kind == "users" else _of_owner(origin.layouts["users"])
    return f"SELECT {', '.join(columns + owner)} FROM {_from(origin, kind)}"  # noqa: S608 - names of ORIGINS


def _of_owner(users: Layout) -> list[str]:
    bans = [f"u.`{users.columns[name]}` AS owner_{name}" for name in ("banned", "ban_expires") if name in users.columns]
    return [f"u.`{users.column('id')}` AS owner", *bans]


def _from(origin: Origin, kind: RowKind) -> str:
    layout, users = origin.layouts[kind], origin.layouts["users"]
    if kind == "users":
        return f"`{layout.table}` t"
    condition = f"u.`{users.column('id')}` = t.`{layout.column('user_id')}`"
    return f"`{layout.table}` t LEFT JOIN `{users.table}` u ON {condition}"


def _unique(origin: Origin, kind: RowKind) -> list[str]:
    """Return what is unique here, as expressions on their columns."""
    layout = origin.layouts[kind]
    if kind == "users":
        # Every address is ASCII, by the check of its row.
        return [_bytes(f"LOWER({_of(layout.column('email'))})")]
    if kind == "sessions":
        return [_bytes(_of(layout.column("token")))]
    password, provider = _of(layout.column("password")), _of(layout.column("provider"))
    mine = f"({password} <> '' OR {provider} = '{CREDENTIAL}')"
    return [
        _bytes(f"IF({mine}, '{CREDENTIAL}', {provider})"),
        _bytes(f"IF({mine}, u.`{origin.layouts['users'].column('id')}`, {_of(layout.column('account_id'))})"),
    ]


def _of(column: str) -> str:
    return f"t.`{column}`"


def _bytes(expression: str) -> str:
    """Compare as our tables do, whatever the collation there."""
    return f"CONVERT({expression} USING utf8mb4) COLLATE utf8mb4_bin"
