"""All SQL on ``accounts``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, and_, func, insert, literal, or_, select, text, update
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.ids import new_id
from chassis.contract.keyset import TimeAndId
from users_service.accounts.model import Account
from users_service.errors import AccountAlreadyLinked, RecordUnreadable, UserNotFound
from users_service.mysql.driver_errors import FOREIGN_KEY_MISSING, TOO_LONG, duplicate_key, error_number
from users_service.mysql.rows import UNFIT, as_integer, as_text, key, or_error, unreadable
from users_service.tables import accounts

# Only ``credentials`` reads and writes the password itself.
_STORED = tuple(accounts.c[name] for name in Account.__dataclass_fields__ if name != "has_password")
# The last one keeps them unique over all shards (docs/scaling.md).
PROVIDER_KEYS = frozenset({"uniq_provider_account", "provider_lookup.PRIMARY"})
COLUMNS = (*_STORED, accounts.c.password.is_not(None).label("has_password"))


@named
async def insert_account(connection: AsyncConnection, account: Account) -> None:
    """Store a new account. Raises AccountAlreadyLinked where (provider, account_id) is taken, or UserNotFound."""
    values = {column.name: getattr(account, column.name) for column in _STORED}
    try:
        await connection.execute(insert(accounts).values(values))
    except IntegrityError as error:
        if duplicate_key(error) in PROVIDER_KEYS:
            raise AccountAlreadyLinked from None
        if error_number(error) == FOREIGN_KEY_MISSING:
            raise UserNotFound(account.user_id) from None
        raise


def new_account(user_id: str, provider: str, account_id: str, now: datetime, **values: Any) -> Account:
    """Make an account that is not stored yet."""
    columns: dict[str, Any] = dict.fromkeys(("scope", "expires_at", "refresh_token_expires_at", "token_key_id"))
    columns.update(values)
    return Account(
        id=new_id("acct"),
        user_id=user_id,
        account_id=account_id,
        provider=provider,
        revision=1,
        created_at=now,
        updated_at=now,
        **columns,
    )


@named
async def get(connection: AsyncConnection, user_id: str, id_: str, *, lock: bool = False) -> Account | None:
    """Read one account of a user."""
    return await _one(connection, and_(accounts.c.id == id_, accounts.c.user_id == user_id), lock=lock)


@named
async def get_by_provider(connection: AsyncConnection, provider: str, account_id: str) -> Account | None:
    """Read the account that the provider knows under ``account_id``."""
    return await _one(connection, and_(accounts.c.provider == provider, accounts.c.account_id == account_id))


async def _one(connection: AsyncConnection, condition: Any, *, lock: bool = False) -> Account | None:
    statement = select(*COLUMNS).where(condition)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else account_of(row)


@named
async def list_by_user(
    connection: AsyncConnection, user_id: str, limit: int | None = None, after: TimeAndId | None = None
) -> list[Row[Any]]:
    """Read at most ``limit`` rows of a user, for ``account_of``, oldest first, beginning after the key ``after``."""
    statement = select(*COLUMNS).where(accounts.c.user_id == user_id)
    if after is not None:
        created_at, id_ = after
        statement = statement.where(
            or_(accounts.c.created_at > created_at, and_(accounts.c.created_at == created_at, accounts.c.id > id_))
        )
    return list(await connection.execute(statement.order_by(accounts.c.created_at, accounts.c.id).limit(limit)))


@named
async def change(connection: AsyncConnection, account: Account, values: Mapping[str, Any], now: datetime) -> None:
    """Change columns of an account that the transaction holds locked; its etag changes.

    Raises RecordUnreadable where tokens of another system do not fit encrypted; then nothing changes.
    """
    statement = update(accounts).where(*_mine(account))
    with _fitting(account.id):
        await connection.execute(statement.values({**values, "revision": accounts.c.revision + 1, "updated_at": now}))


@named
async def delete(connection: AsyncConnection, account: Account) -> None:
    """Remove one account."""
    await connection.execute(delete_from(accounts).where(*_mine(account)))


@named
async def note_verified_email(connection: AsyncConnection, account: Account, verified_email: str | None) -> None:
    """Store which address the provider says that it has verified; None: none.

    Revision and time of change stay, since for callers the account is the same.
    """
    values = {"verified_email": verified_email, "updated_at": accounts.c.updated_at}
    await connection.execute(update(accounts).where(*_mine(account)).values(values))


def _mine(account: Account) -> tuple[ColumnElement[bool], ...]:
    """Select an account by id, and name its user: rows of many users may be on many machines (docs/scaling.md)."""
    return accounts.c.id == account.id, accounts.c.user_id == account.user_id


@dataclass(frozen=True, slots=True)
class WayIn:
    """An account as a way to sign in."""

    id: str
    provider: str
    account_id: str
    has_password: bool


@named
async def list_unproved(connection: AsyncConnection, user_id: str, address: str) -> list[WayIn]:
    """Return a user's accounts but those whose provider has verified this address, in its normalised form."""
    wanted = (accounts.c.id, accounts.c.provider, accounts.c.account_id, accounts.c.verified_email)
    statement = select(*wanted, accounts.c.password.is_not(None)).where(accounts.c.user_id == user_id)
    rows = await connection.execute(statement.order_by(accounts.c.created_at, accounts.c.id))
    return [WayIn(id_, provider, own_id, bool(has)) for id_, provider, own_id, proved, has in rows if proved != address]


@named
async def delete_many(connection: AsyncConnection, user_id: str, ids: Sequence[str]) -> None:
    """Remove accounts of a user."""
    await connection.execute(delete_from(accounts).where(accounts.c.id.in_(ids), accounts.c.user_id == user_id))


@named
async def exchange_tokens(connection: AsyncConnection, old: Account, values: Mapping[str, Any]) -> bool:
    """Store the same tokens under another key, unless they have changed meanwhile; return whether they were stored.

    Revision and time of change stay, since for callers the account is the same. Raises RecordUnreadable where the
    tokens do not fit encrypted.
    """
    unchanged = [
        accounts.c[name].is_not_distinct_from(getattr(old, name))
        for name in ("access_token", "refresh_token", "id_token", "token_key_id", "revision")
    ]
    statement = update(accounts).where(*_mine(old), *unchanged).values({**values, "updated_at": accounts.c.updated_at})
    with _fitting(old.id):
        return (await connection.execute(statement)).rowcount == 1


@contextmanager
def _fitting(id_: str) -> Iterator[None]:
    """Raise RecordUnreadable where a value does not fit its column.

    What this service stores does. Other systems stored tokens of up to 65,535 bytes, which take a third more encrypted.
    """
    try:
        yield
    except DataError as error:
        if error_number(error) != TOO_LONG:
            raise
        raise unreadable("accounts", id_, error) from None


@named
async def look_through(connection: AsyncConnection, primary: str, after: str, limit: int) -> list[tuple[str, bool]]:
    """Return the next ids, and for each whether its tokens are under another key than the primary, or in plain text.

    The statement reads ``limit`` rows at most, so it takes no longer on a big table.
    """
    outdated = func.coalesce(_under_other_keys(primary), literal(0))
    statement = select(accounts.c.id, outdated).where(accounts.c.id > after).order_by(accounts.c.id).limit(limit)
    return [(id_, bool(is_outdated)) for id_, is_outdated in await connection.execute(statement)]


@named
async def get_many(connection: AsyncConnection, ids: Sequence[str]) -> list[tuple[str, Account | RecordUnreadable]]:
    """Read accounts by id, in no order; for each its id, and the account or that it cannot be read."""
    rows = await connection.execute(select(*COLUMNS).where(accounts.c.id.in_(ids)))
    return [(key(row.id), or_error(account_of, row)) for row in rows]


@named
async def estimate(connection: AsyncConnection) -> int:
    """Return about how many accounts there are; counting them would take long."""
    statement = text(
        "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'accounts'"
    )
    return (await connection.execute(statement)).scalar_one_or_none() or 0


def _under_other_keys(primary: str) -> Any:
    plain = or_(*(accounts.c[name].is_not(None) for name in ("access_token", "refresh_token", "id_token")))
    return or_(accounts.c.token_key_id != primary, and_(accounts.c.token_key_id.is_(None), plain))


def account_of(row: Row[Any]) -> Account:
    """Turn a row of ``COLUMNS`` into an account; the driver's times are naive and in UTC. Raises RecordUnreadable."""
    return account_from(row._asdict())


def account_from(stored: Mapping[str, Any]) -> Account:
    """Turn values of ``COLUMNS``, by their names, into an account. Raises RecordUnreadable."""
    try:
        values = {name: _AS[name](value) for name, value in stored.items()}
    except UNFIT as problem:
        raise unreadable("accounts", stored["id"], problem) from None
    return Account(**values)


def _or_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _as(column: Column[Any]) -> Callable[[Any], Any]:
    kinds: dict[type, Callable[[Any], Any]] = {str: as_text, int: as_integer, datetime: utc}
    convert = kinds[column.type.python_type]
    return _or_none(convert) if column.nullable else convert


_AS = {column.name: _as(column) for column in _STORED} | {"has_password": bool}
