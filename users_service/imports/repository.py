"""All SQL of imports: what is taken, and rows of many users in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, and_, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.imports.conflicts import OF_KEYS, Taken
from users_service.imports.model import Incoming
from users_service.keys import among
from users_service.mysql.driver_errors import duplicate_key
from users_service.tables import accounts, sessions, users

# Rows of one statement: writing them down for the database holds the event loop.
ROWS: Final = 100


class Raced(Exception):
    """A unique key, named by the argument, refused a row: somebody else has taken the value meanwhile."""


@named
async def find_taken(connection: AsyncConnection, incoming: Sequence[Incoming]) -> Taken:
    """Return what of that which these users have is taken.

    Ids are looked for last: whoever has one of the others by being there already is then found by the id, too, also
    where another import of the same user commits between two look-ups.
    """
    tokens = await _tokens(connection, [token for each in incoming for token in each.token_hashes])
    linked = await _linked(connection, incoming)
    emails = await _values(connection, users.c.email_normalized, [each.email_normalized for each in incoming])
    ids = await _values(connection, users.c.id, [each.user.id for each in incoming])
    return Taken(ids, emails, linked, tokens)


async def _values(connection: AsyncConnection, column: Any, wanted: Sequence[str]) -> set[str]:
    if not wanted:
        return set()
    return set((await connection.execute(select(column).where(among(column, wanted)))).scalars())


async def _linked(connection: AsyncConnection, incoming: Sequence[Incoming]) -> set[tuple[str, str]]:
    by_provider = defaultdict(list)
    for each in incoming:
        for account in each.accounts:
            by_provider[account.provider].append(account.account_id)
    if not by_provider:
        return set()
    # Not by the pair: servers read no index range for comparisons of rows.
    chosen = [
        and_(accounts.c.provider == provider, among(accounts.c.account_id, ids))
        for provider, ids in by_provider.items()
    ]
    rows = await connection.execute(select(accounts.c.provider, accounts.c.account_id).where(or_(*chosen)))
    return {(provider, account_id) for provider, account_id in rows}


async def _tokens(connection: AsyncConnection, hashes: Sequence[bytes]) -> set[bytes]:
    if not hashes:
        return set()
    rows = await connection.execute(select(sessions.c.token_hash).where(sessions.c.token_hash.in_(hashes)))
    return set(rows.scalars())


@named
async def insert_rows(connection: AsyncConnection, rows: Mapping[Table, Iterable[Mapping[str, Any]]]) -> None:
    """Store rows, table by table in the order given; all rows of a table name the same columns. Raises Raced."""
    try:
        for table, of_table in rows.items():
            for some in _parts(list(of_table)):
                await connection.execute(insert(table), some)
    except IntegrityError as error:
        if (key := duplicate_key(error)) in OF_KEYS:
            raise Raced(key) from None
        raise


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
