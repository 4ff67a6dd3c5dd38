"""All SQL on ``verifications``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, delete, null, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from users_service.keys import among
from users_service.mysql.rows import UNFIT, unreadable
from users_service.tables import verifications
from users_service.users.email import folded
from users_service.verifications.model import MAX_ATTEMPTS, Purpose, SecretKind, Verification

COLUMNS = tuple(verifications.c[name] for name in Verification.__dataclass_fields__)
# What a new secret takes over with the row of the one before.
PLACE = frozenset({"purpose", "identifier", "kind", "user_id"})

_ROWS = select(verifications.c.id, verifications.c.user_id)


@named
async def put(connection: AsyncConnection, verification: Verification) -> None:
    """Store a verification, and replace an older one of the same purpose, identifier, kind and user; one statement."""
    values = {column.name: getattr(verification, column.name) for column in COLUMNS}
    values["updated_at"] = verification.created_at
    statement = mysql.insert(verifications).values(values)
    changed = {name: value for name, value in values.items() if name not in PLACE}
    await connection.execute(statement.on_duplicate_key_update(changed))


@named
async def void(connection: AsyncConnection, user_id: str, *emails: str) -> None:
    """Remove what was made for a user, to whatever address, and what was made for these addresses, whatever it is for.

    From now on those secrets count as wrong. What was made for another user stays, also where it names one of the
    addresses. Call it in the transaction that changes the password, the address or the state of the user, and that
    holds the user's row locked: verifications of the user and of its address are made and consumed under the same lock
    (decision 0060).
    """
    # Read before they are removed: a deletion by address would wait for rows of other users that are being consumed.
    found = {row.id for row in await connection.execute(_ROWS.where(verifications.c.user_id == user_id))}
    of_addresses = _ROWS.where(among(verifications.c.identifier, sorted({folded(email) for email in emails})))
    found |= {row.id for row in await connection.execute(of_addresses) if row.user_id in ("", user_id)}
    if found:
        await connection.execute(delete(verifications).where(verifications.c.id.in_(sorted(found))))


def of_code(purpose: Purpose, identifier: str, user_id: str = "") -> ColumnElement[bool]:
    """Select the code of a purpose, identifier and user: at most one row, and no token, which guesses must not end."""
    return and_(
        verifications.c.purpose == purpose,
        verifications.c.identifier == identifier,
        verifications.c.kind == SecretKind.CODE,
        verifications.c.user_id == user_id,
    )


def of_id(id_: str) -> ColumnElement[bool]:
    """Select the verification of an id, of whatever kind."""
    return verifications.c.id == id_


def of_token(purpose: Purpose, id_: str, user_id: str = "") -> ColumnElement[bool]:
    """Select a token of a purpose and user by its id: at most one row."""
    return and_(
        verifications.c.id == id_,
        verifications.c.purpose == purpose,
        verifications.c.kind == SecretKind.TOKEN,
        verifications.c.user_id == user_id,
    )


@named
async def find(connection: AsyncConnection, which: ColumnElement[bool]) -> Verification | None:
    """Read the selected verification, whatever its state."""
    row = (await connection.execute(select(*COLUMNS).where(which))).one_or_none()
    return None if row is None else verification_of(row)


@named
async def attempt(
    connection: AsyncConnection, which: ColumnElement[bool], candidates: Sequence[str], now: datetime
) -> bool:
    """Consume a living verification whose hash is a candidate, or count a wrong attempt on it.

    It is one statement, so concurrent attempts are counted one after the other, and at most one of them consumes.
    Returns whether the verification was live: not consumed, not expired, and without too many wrong attempts.
    """
    right = verifications.c.value.in_(candidates)
    statement = (
        update(verifications)
        .where(
            which,
            verifications.c.consumed_at.is_(None),
            verifications.c.expires_at > now,
            verifications.c.attempts < MAX_ATTEMPTS,
        )
        # MySQL assigns from left to right, so no value may depend on a column that the statement changes.
        .values(
            consumed_at=case((right, now), else_=null()),
            attempts=verifications.c.attempts + case((right, 0), else_=1),
            updated_at=now,
        )
    )
    return (await connection.execute(statement)).rowcount == 1


def verification_of(row: Row[Any]) -> Verification:
    """Turn a row of ``COLUMNS`` into a verification. Raises RecordUnreadable."""
    values = row._asdict()
    try:
        values.update(purpose=Purpose(row.purpose), kind=SecretKind(row.kind))
        values.update(created_at=utc(row.created_at), expires_at=utc(row.expires_at))
        values.update(consumed_at=None if row.consumed_at is None else utc(row.consumed_at))
    except UNFIT as problem:
        raise unreadable("verifications", row.id, problem) from None
    return Verification(**values)
