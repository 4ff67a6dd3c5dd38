"""The copy of another system's rows into our tables, in batches; one that was cut off goes on behind the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, text

from chassis.commands.migrations import Say
from users_service.accounts.tokens import TokenCipher
from users_service.migrations.adoption import checks, origins, progress, reading
from users_service.migrations.adoption.checks import CannotAdopt
from users_service.migrations.adoption.origins import KINDS, Origin, RowKind
from users_service.migrations.adoption.progress import Copied
from users_service.migrations.adoption.rows import LeftOut, Rows, TheirRow, Unfit

# The columns as they are at this revision; later ones come with defaults.
_COLUMNS: Final = {
    "users": (
        *("id", "email", "email_normalized", "email_verified", "name", "password_hash", "image"),
        *("is_disabled", "disabled_at", "disabled_until", "disabled_reason", "created_at", "updated_at"),
    ),
    "sessions": (
        *("id", "user_id", "token_hash", "expires_at", "absolute_expires_at", "extended_at", "last_seen_at"),
        *("ip_address", "user_agent", "authentication_method", "created_at"),
    ),
    "accounts": (
        *("id", "user_id", "account_id", "provider", "access_token", "refresh_token", "id_token", "expires_at"),
        *("refresh_token_expires_at", "scope", "token_key_id", "password", "created_at", "updated_at"),
    ),
}


def adopt(connection: Connection, cipher: TokenCipher, say: Say) -> None:
    """Copy what is left to copy of an adoption that was begun; nothing where none was. Raises CannotAdopt."""
    name = progress.origin(connection)
    if name is None:
        return
    origin = origins.named(name, connection)
    rows = Rows(cipher, checks.now(connection))
    for kind in KINDS:
        if kind in origin.layouts:
            _copy(connection, origin, kind, rows)
    say(_summary(connection, origin))
    for line in _missed(connection, origin):
        say(line)
    progress.end(connection)


def _copy(connection: Connection, origin: Origin, kind: RowKind, rows: Rows) -> None:
    for batch in reading.batches(connection, origin, kind, progress.read(connection, kind).position):
        made = [row for theirs in batch if (row := _converted(rows, origin, kind, theirs)) is not None]
        with _transaction(connection):
            _store(connection, kind, made)
            progress.advance(connection, kind, Copied(str(batch[-1]["id"]), len(made), len(batch) - len(made)))


def _converted(rows: Rows, origin: Origin, kind: RowKind, row: TheirRow) -> dict[str, Any] | None:
    """Return our row for one of theirs; None for one that is left."""
    try:
        return checks.convert(rows, kind, row)
    except LeftOut:
        return None
    except Unfit as unfit:
        layout = origin.layouts[kind]
        reason = f"{unfit.reason}{checks.place(kind, row['id'])}, which has come since the check"
        then = "The rest follows once that is put right and this is run again"
        raise CannotAdopt(layout.table, f"column {layout.column(unfit.column)}", reason, then) from None


def _store(connection: Connection, kind: RowKind, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        names = _COLUMNS[kind]
        values = ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO {kind} ({', '.join(names)}) VALUES ({values})"), rows)  # noqa: S608


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    """Commit the block's statements together; the connection commits each by itself otherwise."""
    connection.exec_driver_sql("START TRANSACTION")
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _missed(connection: Connection, origin: Origin) -> Iterator[str]:
    """Say of which tables there are rows that were not read, because they came behind the copy."""
    for kind, layout in origin.layouts.items():
        done = progress.read(connection, kind)
        if more := reading.count(connection, layout) - done.adopted - done.left_out:
            yield f"{more:+,} rows in {layout.table} since they were copied: the other system is still at work"


def _summary(connection: Connection, origin: Origin) -> str:
    done = {kind: progress.read(connection, kind) for kind in KINDS}
    adopted = ", ".join(f"{done[kind].adopted:,} {kind}" for kind in KINDS)
    left = ", ".join(f"{done[kind].left_out:,} {kind}" for kind in KINDS if done[kind].left_out)
    tables = ", ".join(sorted(origin.tables))
    return f"adopted {adopted}{f' (left: {left})' if left else ''}; what they were copied from stays: {tables}"
