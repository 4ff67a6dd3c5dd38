"""The SQL of sessions: each change is one guarded statement, so that no race can revive what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
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
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.keyset import TimeAndId
from chassis.pooling.batches import Batch
from users_service.credentials.repository import UNCHANGED
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.rows import UNFIT, as_text, unreadable
from users_service.mysql.session_state import leads_to_vitess
from users_service.paging import key_of
from users_service.sessions.lifetime import EXTENSION_DUE, SLIDING
from users_service.sessions.model import USER_DISABLED, AuthenticationMethod, ClientDetails, Session
from users_service.tables import accounts, sessions, users
from users_service.tables import rotated_session_tokens as rotated
from users_service.users.states import IS_ACTIVE

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
    sessions.c.authentication_method,
)

# A sign-in must not take longer the more sessions its user has had.
CLIENTS_LOOKED_AT: Final = 1_000

_NAMES = tuple(column.name for column in COLUMNS)
# Both read the state of the user under a shared lock of the row, which the foreign key takes anyway: whoever disables
# the user waits for the transaction, and ends what it has stored (decision 0092).
_INSERT = CompiledStatement(
    insert(sessions).from_select(
        _NAMES,
        select(*(bindparam(name) for name in _NAMES))
        .select_from(users)
        .where(users.c.id == bindparam("user_id"), IS_ACTIVE)
        .with_for_update(read=True),
    )
)
# It locks the rows of the user and of the password for reading, in this order, until the transaction ends.
_INSERT_GUARDED = CompiledStatement(
    insert(sessions).from_select(
        _NAMES,
        select(*(bindparam(name) for name in _NAMES))
        .prefix_with("STRAIGHT_JOIN")
        .select_from(join(users, accounts, accounts.c.account_id == users.c.id))
        .where(users.c.id == bindparam("user_id"), IS_ACTIVE, *UNCHANGED)
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
            None if row[12] is None else AuthenticationMethod(as_text(row[12])),
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


def is_live(now: datetime) -> ColumnElement[bool]:
    """Select the sessions that have been neither revoked nor expired."""
    return and_(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)


@named
async def insert_session(connection: AsyncConnection, session: Session) -> bool:
    """Store a session of an active user; return False where there is no such user.

    Until the transaction ends, the user stays active. No session of a user who is there already is stored in any other
    way than by this function or ``insert_guarded``.
    """
    return (await _INSERT.on(connection, row_of(session))).count == 1


@named
async def insert_guarded(connection: AsyncConnection, session: Session, password_hash: str) -> bool:
    """Store a session if its user is active and this is still the hash of the password; return whether it is so.

    Until the transaction ends, neither changes.
    """
    values = {**row_of(session), "password_hash": password_hash}
    return (await _INSERT_GUARDED.on(connection, values)).count == 1


def row_of(session: Session) -> dict[str, Any]:
    """Return the columns of a session."""
    return {name: getattr(session, name) for name in _NAMES}


@named
async def get(connection: AsyncConnection, session_id: str, user_id: str | None = None) -> Session | None:
    """Return a session, ended or not; of that user if one is named."""
    row = (await connection.execute(select(*COLUMNS).where(*_by_id(session_id, user_id)))).first()
    return from_row(row) if row else None


@named
async def extend(connection: AsyncConnection, session: Session, now: datetime) -> bool:
    """Move the end of a live session whose refresh is due; False when it is not due, or has ended."""
    end = func.least(literal(now + SLIDING), sessions.c.absolute_expires_at)
    due = and_(
        sessions.c.do_not_remember.is_(False),
        sessions.c.expires_at < sessions.c.absolute_expires_at,
        sessions.c.extended_at <= now - EXTENSION_DUE,
    )
    statement = update(sessions).where(*_by_id(session.id, session.user_id), is_live(now), due)
    result = await connection.execute(statement.values(expires_at=end, extended_at=now, last_seen_at=now))
    return result.rowcount == 1


@named
async def touch(connection: AsyncConnection, session: Session, now: datetime) -> bool:
    """Note that a live session was seen; False when it has ended."""
    statement = update(sessions).where(*_by_id(session.id, session.user_id), is_live(now))
    return (await connection.execute(statement.values(last_seen_at=now))).rowcount == 1


@named
async def replace_token(
    connection: AsyncConnection, session: Session, new_hash: bytes, now: datetime, rotated_at: datetime
) -> bool:
    """Replace the session's token, and remember the old one, with the time by the database's clock.

    Returns False when the session has ended, or has another token by now.
    """
    id_, old_hash = session.id, session.token_hash
    mine = _by_id(id_, session.user_id)
    statement = update(sessions).where(*mine, sessions.c.token_hash == old_hash, is_live(now))
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
    if not user_id and await leads_to_vitess(connection):
        # By the id alone it would lock the id's lookup before the row, and who replaces the token locks the row first.
        owner = select(sessions.c.user_id).where(sessions.c.id == session_id)
        user_id = (await connection.execute(owner)).scalar()
        if user_id is None:
            return 0
    return await _revoke(connection, and_(*_by_id(session_id, user_id)), now, reason)


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
async def end_of_disabled(connection: AsyncConnection, user_id: str, now: datetime) -> int:
    """End all sessions of a user who is disabled; return how many ended."""
    ended = await _revoke(connection, sessions.c.user_id == user_id, now, USER_DISABLED)
    # What has expired by the clock of this process may be live by that of another, which could extend it.
    overdue = update(sessions).where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    await connection.execute(overdue.values(revoked_at=now, revoked_reason=USER_DISABLED))
    return ended


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
    found = list(await connection.execute(newest_first(keys, user_id, after).where(is_live(now)).limit(limit)))
    ids = [row.id for row in found if row.id != except_session_id]
    mine = and_(sessions.c.user_id == user_id, sessions.c.id.in_(ids))
    ended = await _revoke(connection, mine, now, reason) if ids else 0
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


def _by_id(session_id: str, user_id: str | None) -> list[ColumnElement[bool]]:
    """Select a session, and name its user where known: rows of many users may be on many machines (docs/scaling.md)."""
    of_user = [sessions.c.user_id == user_id] if user_id else []
    return [sessions.c.id == session_id, *of_user]


async def _revoke(connection: AsyncConnection, chosen: ColumnElement[bool], now: datetime, reason: str) -> int:
    statement = update(sessions).where(chosen, is_live(now)).values(revoked_at=now, revoked_reason=reason)
    return (await connection.execute(statement)).rowcount


def newest_first(columns: Iterable[Any], user_id: str, after: TimeAndId | None) -> Select[Any]:
    """Return the statement that reads a user's sessions, live and ended, newest first, beginning after a key."""
    statement = select(*columns).where(sessions.c.user_id == user_id)
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
