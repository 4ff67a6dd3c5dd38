"""The SQL of sessions: each change is one guarded statement, so that no race can revive what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    func,
    insert,
    join,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.keyset import TimeAndId
from chassis.pooling.batches import Batch
from users_service.credentials.repository import UNCHANGED
from users_service.errors import UserNotFound
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.driver_errors import FOREIGN_KEY_MISSING, error_number
from users_service.mysql.rows import UNFIT, as_text, unreadable
from users_service.paging import key_of
from users_service.sessions.lifetime import EXTENSION_DUE, SLIDING
from users_service.sessions.model import ClientDetails, Session
from users_service.tables import accounts, sessions, users
from users_service.tables import rotated_session_tokens as rotated

# Also the order of the columns in ``from_row``.
COLUMNS = (
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.token_hash,
    sessions.c.created_at,
    sessions.c.expires_at,
    sessions.c.absolute_expires_at,
    sessions.c.extended_at,
    sessions.c.last_seen_at,
    sessions.c.revoked_at,
    sessions.c.do_not_remember,
    sessions.c.ip_address,
    sessions.c.user_agent,
)

# A sign-in must not take longer the more sessions its user has had.
CLIENTS_LOOKED_AT: Final = 1_000

_NAMES = tuple(column.name for column in COLUMNS)
_INSERT = CompiledStatement(insert(sessions).values({name: bindparam(name) for name in _NAMES}))
# It locks the rows of the user and of the password for reading, in this order, until the transaction ends.
_INSERT_GUARDED = CompiledStatement(
    insert(sessions).from_select(
        _NAMES,
        select(*(bindparam(name) for name in _NAMES))
        .prefix_with("STRAIGHT_JOIN")
        .select_from(join(users, accounts, accounts.c.account_id == users.c.id))
        .where(users.c.id == bindparam("user_id"), *UNCHANGED)
        .with_for_update(read=True),
    )
)


def from_row(row: Sequence[Any]) -> Session:
    """Make a session of the values of ``COLUMNS``; the driver's times are naive, in UTC. Raises RecordUnreadable."""
    try:
        return Session(
            as_text(row[0]),
            as_text(row[1]),
            row[2],
            utc(row[3]),
            utc(row[4]),
            utc(row[5]),
            utc(row[6]),
            utc(row[7]),
            None if row[8] is None else utc(row[8]),
            bool(row[9]),
            "" if row[10] is None else as_text(row[10]),
            "" if row[11] is None else as_text(row[11]),
        )
    except UNFIT as problem:
        raise unreadable("sessions", row[0], problem) from None


@named
async def clients_since(connection: AsyncConnection, user_id: str, since: datetime) -> set[ClientDetails]:
    """Return the clients of a user's sessions that began since then; of very many, those of the newest 1,000."""
    newest = (
        select(sessions.c.ip_address, sessions.c.user_agent)
        .where(sessions.c.user_id == user_id, sessions.c.created_at >= since)
        .with_hint(sessions, "FORCE INDEX (idx_user_id)", "mysql")
        .order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
        .limit(CLIENTS_LOOKED_AT)
    )
    rows = (await connection.execute(newest)).all()
    return {ClientDetails(ip_address or "", user_agent or "") for ip_address, user_agent in rows}


def _live(now: datetime) -> ColumnElement[bool]:
    return and_(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)


@contextmanager
def whose_user_may_go(user_id: str) -> Iterator[None]:
    """Raise UserNotFound where the user of a session that is stored inside was deleted meanwhile."""
    try:
        yield
    except IntegrityError as error:
        if error_number(error) == FOREIGN_KEY_MISSING:
            raise UserNotFound(user_id) from None
        raise


@named
async def insert_session(connection: AsyncConnection, session: Session) -> None:
    """Store a session of a user whom this transaction has made or locked; for others see ``whose_user_may_go``."""
    await _INSERT.on(connection, _values(session))


@named
async def insert_guarded(connection: AsyncConnection, session: Session, password_hash: str) -> bool:
    """Store a session if this is still the hash of its user's password; return whether it was.

    Until the transaction ends, the hash does not change.
    """
    values = {**_values(session), "password_hash": password_hash}
    return (await _INSERT_GUARDED.on(connection, values)).count == 1


def _values(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in _NAMES}


@named
async def get(connection: AsyncConnection, session_id: str) -> Session | None:
    """Return a session, ended or not."""
    row = (await connection.execute(select(*COLUMNS).where(sessions.c.id == session_id))).first()
    return from_row(row) if row else None


@named
async def extend(connection: AsyncConnection, session_id: str, now: datetime) -> bool:
    """Move the end of a live session whose refresh is due; False when it is not due, or has ended."""
    end = func.least(literal(now + SLIDING), sessions.c.absolute_expires_at)
    due = and_(
        sessions.c.do_not_remember.is_(False),
        sessions.c.expires_at < sessions.c.absolute_expires_at,
        sessions.c.extended_at <= now - EXTENSION_DUE,
    )
    statement = update(sessions).where(sessions.c.id == session_id, _live(now), due)
    result = await connection.execute(statement.values(expires_at=end, extended_at=now, last_seen_at=now))
    return result.rowcount == 1


@named
async def touch(connection: AsyncConnection, session_id: str, now: datetime) -> bool:
    """Note that a live session was seen; False when it has ended."""
    statement = update(sessions).where(sessions.c.id == session_id, _live(now))
    return (await connection.execute(statement.values(last_seen_at=now))).rowcount == 1


@named
async def replace_token(
    connection: AsyncConnection, session: Session, new_hash: bytes, now: datetime, rotated_at: datetime
) -> bool:
    """Replace the session's token, and remember the old one, with the time by the database's clock.

    Returns False when the session has ended, or has another token by now.
    """
    id_, old_hash = session.id, session.token_hash
    statement = update(sessions).where(sessions.c.id == id_, sessions.c.token_hash == old_hash, _live(now))
    if (await connection.execute(statement.values(token_hash=new_hash))).rowcount == 0:
        return False
    # After the update, which locks the session exclusively: the foreign key alone takes a shared lock.
    await connection.execute(insert(rotated).values(token_hash=old_hash, session_id=id_, rotated_at=rotated_at))
    return True


@named
async def revoke(
    connection: AsyncConnection, session_id: str, now: datetime, reason: str, user_id: str | None = None
) -> int:
    """End one session, of that user if one is named; return how many ended: 0 or 1."""
    chosen = [sessions.c.id == session_id, *([sessions.c.user_id == user_id] if user_id else [])]
    return await _revoke(connection, and_(*chosen), now, reason)


@named
async def revoke_all(
    connection: AsyncConnection, user_id: str, now: datetime, reason: str, except_session_id: str | None = None
) -> int:
    """End all sessions of a user, but the one excepted; return how many ended."""
    chosen = sessions.c.user_id == user_id
    if except_session_id is not None:
        chosen = and_(chosen, sessions.c.id != except_session_id)
    return await _revoke(connection, chosen, now, reason)


@named
async def revoke_next(
    connection: AsyncConnection,
    user_id: str,
    now: datetime,
    reason: str,
    *,
    limit: int,
    after: TimeAndId | None = None,
    except_session_id: str | None = None,
) -> tuple[Batch, TimeAndId | None]:
    """End the next ``limit`` sessions of a user but the one excepted, newest first, beginning after a key.

    Returns how many ended, and the key after which the next ones come; None: from the beginning, where what ended by
    now is passed over, because behind a time that cannot be read there is no place.
    """
    keys = (sessions.c.created_at, sessions.c.id)
    found = list(await connection.execute(_live_ones(keys, user_id, now, after).limit(limit)))
    ids = [row.id for row in found if row.id != except_session_id]
    ended = await _revoke(connection, sessions.c.id.in_(ids), now, reason) if ids else 0
    is_last = len(found) < limit or not ended
    return Batch(ended, is_last), None if is_last else key_of(found[-1], descending=True)


@named
async def revoke_between(connection: AsyncConnection, after: str, upto: str, now: datetime, reason: str) -> int:
    """End the sessions with ids after ``after`` up to ``upto``; return how many ended."""
    return await _revoke(connection, and_(sessions.c.id > after, sessions.c.id <= upto), now, reason)


@named
async def ids_behind(connection: AsyncConnection, after: str, number: int) -> list[str]:
    """Return the next ``number`` ids of sessions, live or ended, in order."""
    statement = select(sessions.c.id).where(sessions.c.id > after).order_by(sessions.c.id).limit(number)
    return list((await connection.execute(statement)).scalars())


@named
async def estimate(connection: AsyncConnection) -> int:
    """Return about how many sessions there are; counting them would take long."""
    statement = text(
        "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'sessions'"
    )
    return (await connection.execute(statement)).scalar_one_or_none() or 0


async def _revoke(connection: AsyncConnection, chosen: ColumnElement[bool], now: datetime, reason: str) -> int:
    statement = update(sessions).where(chosen, _live(now)).values(revoked_at=now, revoked_reason=reason)
    return (await connection.execute(statement)).rowcount


@named
async def list_live(
    connection: AsyncConnection, user_id: str, now: datetime, after: TimeAndId | None, limit: int
) -> list[Row[Any]]:
    """Return rows, for ``from_row``, of a user's live sessions, newest first, beginning after a key."""
    return list(await connection.execute(_live_ones(COLUMNS, user_id, now, after).limit(limit)))


def _live_ones(columns: Iterable[Any], user_id: str, now: datetime, after: TimeAndId | None) -> Select[Any]:
    """Return the statement that reads a user's live sessions, newest first, beginning after a key."""
    statement = select(*columns).where(sessions.c.user_id == user_id, _live(now))
    if after is not None:
        created_at, session_id = after
        # The first condition limits the range of the index that is read; the second decides between equal times.
        statement = statement.where(
            sessions.c.created_at <= created_at,
            or_(sessions.c.created_at < created_at, sessions.c.id < session_id),
        )
    # Without the hint MariaDB reads a later page from the beginning of the user's sessions.
    along = statement.with_hint(sessions, "FORCE INDEX (idx_user_id)", "mysql")
    return along.order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
