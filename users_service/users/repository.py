"""All SQL on ``users``, for transactions and lists; GetUser goes by the point reads of ``users.reads``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.keyset import TimeAndId
from chassis.errors import ConflictRetry
from users_service.errors import EmailTaken
from users_service.keys import among
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.driver_errors import duplicate_key
from users_service.mysql.rows import UNFIT, as_integer, as_text, unreadable
from users_service.mysql.session_state import leads_to_vitess
from users_service.tables import users
from users_service.users.email import normalize
from users_service.users.model import User, UserChanges, UserFilter, UserOrder
from users_service.users.states import DISABLED_SINCE, IS_ACTIVE, IS_DISABLED

# A user whose end has passed reads as one who is active.
COLUMNS: Final[tuple[ColumnElement[Any], ...]] = tuple(
    literal_column(DISABLED_SINCE, users.c.disabled_at.type).label(name) if name == "disabled_at" else users.c[name]
    for name in User.__dataclass_fields__
)
# The last one keeps addresses unique over all shards (docs/scaling.md).
EMAIL_KEYS = frozenset({"idx_email", "uniq_email_normalized", "email_lookup.PRIMARY"})

_INSERT = CompiledStatement(
    insert(users).values(
        {name: bindparam(name) for name in (*User.__dataclass_fields__, "email_normalized", "is_disabled")}
    )
)
_BY_ID = select(*COLUMNS).where(users.c.id == bindparam("wanted"))
_BY_EMAIL = select(*COLUMNS).where(users.c.email_normalized == bindparam("wanted"))
# By whether they lock the row. Made once: building such a statement takes longer than carrying it out.
_ONE = {False: _BY_ID, True: _BY_ID.with_for_update()}
_HOLDER = (
    select(*COLUMNS)
    .where(users.c.id == bindparam("wanted"), users.c.email_normalized == bindparam("normalized"))
    .with_hint(users, "FORCE INDEX (PRIMARY)", "mysql")
    .with_for_update()
)

# How often the row is looked for anew because its address went to another user meanwhile.
READINGS: Final = 4


@named
async def insert_user(connection: AsyncConnection, user: User) -> None:
    """Store a new user. Raises EmailTaken."""
    try:
        await _INSERT.on(connection, row_of(user))
    except IntegrityError as error:
        raise _email_taken(error) from None


@named
async def read_user(connection: AsyncConnection, id_: str, *, lock: bool = False) -> User | None:
    """Read a user within a transaction; ``lock``: until that ends, nobody else changes or deletes the user."""
    return await _one(connection, _ONE[lock], wanted=id_)


@named
async def read_by_email(connection: AsyncConnection, normalized: str) -> User | None:
    """Read the user of an address in its normalised form."""
    return await _one(connection, _BY_EMAIL, wanted=normalized)


@named
async def lock_by_email(connection: AsyncConnection, normalized: str) -> User | None:
    """Read the user of an address and lock it: until the transaction ends, nobody else changes or deletes it.

    Raises ConflictRetry where the address changed its user again and again meanwhile.
    """
    for _ in range(READINGS):
        found = await _one(connection, _BY_EMAIL, wanted=normalized)
        # By id, and so in the order of changes of the address: they lock the row, then the index of addresses.
        # Sent also where there is no such user, so that the time does not reveal whether an address is known.
        locked = await _one(connection, _HOLDER, wanted=found.id if found else "", normalized=normalized)
        if locked is not None or found is None:
            return locked
    raise ConflictRetry


async def _one(connection: AsyncConnection, statement: Select[Any], **values: str) -> User | None:
    row = (await connection.execute(statement, values)).one_or_none()
    return None if row is None else user_of(row)


@named
async def list_users(
    connection: AsyncConnection, wanted: UserFilter, limit: int, *, after: TimeAndId | None, order: UserOrder
) -> list[Row[Any]]:
    """Read at most ``limit`` rows, for ``user_of``, in an order, beginning after a key."""
    return list(await connection.execute(page_of_users(wanted, limit, after=after, order=order)))


def page_of_users(wanted: UserFilter, limit: int, *, after: TimeAndId | None, order: UserOrder) -> Select[Any]:
    """Return the statement that reads a page."""
    statement = select(*COLUMNS).where(*_conditions(wanted))
    if after is not None:
        statement = statement.where(_beyond(after, order))
    return _along(_index_of(wanted, order), _ordered(statement, order).limit(limit))


def _along(index: str, statement: Select[Any]) -> Select[Any]:
    return statement.with_hint(users, f"FORCE INDEX ({index})", "mysql") if index else statement


def _index_of(wanted: UserFilter, order: UserOrder) -> str:
    """Name the index that has the rows in order, beginning at the key; empty where the server is to decide.

    Without the hint, MariaDB reads some pages from the beginning of the index, and both servers sort small tables. No
    index helps to find a part of an address, nor has one the users of a span of changes in order of creation.
    """
    if wanted.ids:
        # At most as many rows as the contract allows ids, which are sorted.
        return "PRIMARY"
    if wanted.email_contains or wanted.email_ends_with:
        return ""
    if order is UserOrder.EARLIEST_CHANGE_FIRST:
        return "idx_updated_at"
    if wanted.is_disabled:
        return "idx_is_disabled"
    if wanted.updated_after is not None or wanted.updated_before is not None:
        return ""
    return "idx_created_at" if wanted.email_verified is None else "idx_email_verified"


@named
async def count_users(connection: AsyncConnection, wanted: UserFilter) -> int:
    """Count users."""
    return (await connection.execute(number_of_users(wanted))).scalar_one()


def number_of_users(wanted: UserFilter) -> Select[int]:
    """Return the statement that counts."""
    # Of many ids in a small table, the server would rather read all of it.
    return _along("PRIMARY" if wanted.ids else "", select(func.count()).select_from(users).where(*_conditions(wanted)))


def _conditions(wanted: UserFilter) -> list[ColumnElement[bool]]:
    conditions = _spans(wanted)
    if wanted.email_contains:
        conditions.append(users.c.email_normalized.contains(wanted.email_contains.casefold(), autoescape=True))
    if wanted.email_ends_with:
        conditions.append(users.c.email_normalized.endswith(wanted.email_ends_with.casefold(), autoescape=True))
    if wanted.email_verified is not None:
        conditions.append(users.c.email_verified == wanted.email_verified)
    if wanted.is_disabled is not None:
        conditions.append(and_(users.c.is_disabled, IS_DISABLED) if wanted.is_disabled else IS_ACTIVE)
    if wanted.ids:
        conditions.append(among(users.c.id, wanted.ids))
    return conditions


def _spans(wanted: UserFilter) -> list[ColumnElement[bool]]:
    bounds = (
        (users.c.created_at, operator.ge, wanted.created_after),
        (users.c.created_at, operator.lt, wanted.created_before),
        (users.c.updated_at, operator.ge, wanted.updated_after),
        (users.c.updated_at, operator.lt, wanted.updated_before),
    )
    return [compare(column, time) for column, compare, time in bounds if time is not None]


def _beyond(position: TimeAndId, order: UserOrder) -> ColumnElement[bool]:
    # Not (time, id) < (…): MySQL reads no index range for a comparison of rows.
    time, id_ = position
    column = users.c[order.by]
    if order.descending:
        return and_(column <= time, or_(column < time, users.c.id < id_))
    return and_(column >= time, or_(column > time, users.c.id > id_))


def _ordered(statement: Select[Any], order: UserOrder) -> Select[Any]:
    column = users.c[order.by]
    if order.descending:
        return statement.order_by(column.desc(), users.c.id.desc())
    return statement.order_by(column, users.c.id)


@named
async def change_user(
    connection: AsyncConnection, id_: str, changes: UserChanges, now: datetime, *, revision: int | None
) -> bool:
    """Change a user, if given only at that ``revision``; return whether it was there. Raises EmailTaken."""
    conditions = [users.c.id == id_]
    if revision is not None:
        conditions.append(users.c.revision == revision)
    if changes.email is not None and await leads_to_vitess(connection):
        await _refuse_taken(connection, id_, normalize(changes.email), conditions)
    statement = update(users).where(*conditions).ordered_values(*_assignments(changes, now))
    try:
        return (await connection.execute(statement)).rowcount == 1
    except IntegrityError as error:
        raise _email_taken(error) from None


async def _refuse_taken(
    connection: AsyncConnection, id_: str, normalized: str, conditions: list[ColumnElement[bool]]
) -> None:
    """Raise EmailTaken before the change of a row that is there, where it can be seen.

    Two who want each other's address would wait in their lookups, where MySQL sees no deadlock: each is of another
    transaction, and on another shard, than the one that it belongs to.
    """
    holder = (await connection.execute(select(users.c.id).where(users.c.email_normalized == normalized))).scalar()
    if holder not in (None, id_) and (await connection.execute(select(users.c.id).where(*conditions))).first():
        raise EmailTaken


@named
async def mark_verified(connection: AsyncConnection, id_: str, now: datetime) -> None:
    """Mark the address of a user verified."""
    assignments = _assignments(UserChanges(email_verified=True), now)
    await connection.execute(update(users).where(users.c.id == id_).ordered_values(*assignments))


def _assignments(changes: UserChanges, now: datetime) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = [("revision", users.c.revision + 1), ("updated_at", now)]
    if changes.name is not None:
        pairs.append(("name", changes.name or None))
    if changes.image is not None:
        pairs.append(("image", changes.image or None))
    if changes.email_verified is not None:
        pairs.append(("email_verified", changes.email_verified))
    if changes.email is not None:
        pairs.extend(_email_assignments(changes.email, keep_verified=changes.email_verified is not None))
    return pairs


def _email_assignments(email: str, *, keep_verified: bool) -> list[tuple[str, Any]]:
    normalized = normalize(email)
    pairs: list[tuple[str, Any]] = [("email", email), ("email_normalized", normalized)]
    if not keep_verified:
        # Put first, since MySQL assigns from left to right, and this compares with the address before the change.
        same = case((users.c.email_normalized == normalized, users.c.email_verified), else_=False)
        pairs.insert(0, ("email_verified", same))
    return pairs


@named
async def delete_user(connection: AsyncConnection, id_: str) -> None:
    """Remove the row of a user whose sessions and accounts were removed."""
    await connection.execute(delete(users).where(users.c.id == id_))


def _email_taken(error: IntegrityError) -> Exception:
    return EmailTaken() if duplicate_key(error) in EMAIL_KEYS else error


def row_of(user: User) -> dict[str, Any]:
    """Return the columns of a user."""
    return {
        "id": user.id,
        "email": user.email,
        "email_normalized": normalize(user.email),
        "email_verified": user.email_verified,
        "name": user.name or None,
        "image": user.image or None,
        "revision": user.revision,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "disabled_at": user.disabled_at,
        "disabled_until": user.disabled_until,
        "disabled_reason": user.disabled_reason or None,
        "is_disabled": user.is_disabled,
    }


def user_of(row: Sequence[Any]) -> User:
    """Turn a row of ``COLUMNS`` into a user. Raises RecordUnreadable."""
    id_, email, email_verified, name, image, revision, created_at, updated_at, disabled_at, until, reason = row
    try:
        return User(
            id=as_text(id_),
            email=as_text(email),
            email_verified=bool(email_verified),
            name="" if name is None else as_text(name),
            image="" if image is None else as_text(image),
            revision=as_integer(revision),
            created_at=utc(created_at),
            updated_at=utc(updated_at),
            **({} if disabled_at is None else _disablement(disabled_at, until, reason)),
        )
    except UNFIT as problem:
        raise unreadable("users", id_, problem) from None


def _disablement(disabled_at: Any, until: Any, reason: Any) -> dict[str, Any]:
    return {
        "disabled_at": utc(disabled_at),
        "disabled_until": None if until is None else utc(until),
        "disabled_reason": "" if reason is None else as_text(reason),
    }
