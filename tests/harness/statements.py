"""Statements that a test runs on a database by itself, past the service: to look, to disturb, to stand in the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import asyncmy
import asyncmy.errors
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.harness.databases import MySQLDatabase, in_own_thread

LOCK_SECONDS = 30
# InnoDB makes its table of transactions anew only for those who have not looked at it for a tenth of a second.
LOOK_SECONDS = 0.2
ER_CANNOT_CONVERT_STRING = 3854
ER_NO_SUCH_THREAD = 1094


async def query(database: MySQLDatabase, statement: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own, committed at once; return the rows."""
    async with connected(database, autocommit=True) as connection, connection.cursor() as cursor:
        await cursor.execute(statement, arguments or None)
        return list(await cursor.fetchall()) if cursor.description else []


async def end_connection(database: MySQLDatabase, number: int) -> bool:
    """End a connection; return False for one that was being closed when it was listed, and has ended by itself."""
    try:
        await query(database, f"KILL {number}")
    except asyncmy.errors.OperationalError as error:
        if error.args[0] != ER_NO_SUCH_THREAD:
            raise
        return False
    return True


def number_of(connection: AsyncConnection | Connection) -> int:
    """Return the number by which a connection can be killed: not that of CONNECTION_ID(), which a vtgate passes on."""
    lent: Any = connection.sync_connection if isinstance(connection, AsyncConnection) else connection
    return int(lent.connection.driver_connection.thread_id())


class ServerConnection(NamedTuple):
    """A connection as its server lists it."""

    id: int
    command: str
    state: str
    statement: str


async def connections(database: MySQLDatabase) -> list[ServerConnection]:
    """Return the connections to the database, but for the one that asks.

    Not by ``information_schema.processlist``: MySQL fails on it while any statement on the server has binary values.
    """
    async with connected(database, autocommit=True, use_unicode=False) as connection, connection.cursor() as cursor:
        await cursor.execute("SHOW FULL PROCESSLIST")
        own, found = connection.thread_id(), []
        for id_, _, _, name, command, _, state, statement, *_ in await cursor.fetchall():
            if _text(name) == database.name and id_ != own:
                found.append(ServerConnection(id_, _text(command), _text(state), _text(statement)))
        return found


async def open_transactions(database: MySQLDatabase) -> int:
    """Return how many transactions are open on the database."""
    threads = await _in_transactions(database)
    return sum(each.id in threads for each in await connections(database))


async def _in_transactions(database: MySQLDatabase) -> set[int]:
    """Return the connections of the server that have a transaction open.

    MySQL fails to tell while a statement with binary values runs in one of them, in whatever database.
    """
    while True:
        try:
            found = await query(database, "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")
        except asyncmy.errors.OperationalError as error:
            if error.args[0] != ER_CANNOT_CONVERT_STRING:
                raise
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return {id_ for (id_,) in found}


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


@contextmanager
def holding(database: MySQLDatabase, statement: str, arguments: tuple[Any, ...] = ()) -> Iterator[None]:
    """Hold what a statement locks, in a transaction of its own, for as long as the context lasts; then undo it."""
    locked, done = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def hold() -> None:
        try:
            in_own_thread(partial(_hold, database, (statement, arguments), locked, done))
        except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
            errors.append(error)
            locked.set()

    thread = threading.Thread(target=hold, name="lock-holder")
    thread.start()
    try:
        if not locked.wait(LOCK_SECONDS) or errors:
            raise AssertionError("the rows could not be locked") from (errors[0] if errors else None)
        yield
    finally:
        done.set()
        thread.join()


async def _hold(
    database: MySQLDatabase, statement: tuple[str, tuple[Any, ...]], locked: threading.Event, done: threading.Event
) -> None:
    async with connected(database, autocommit=False) as connection:
        async with connection.cursor() as cursor:
            await cursor.execute(*statement)
        locked.set()
        await asyncio.to_thread(done.wait)
        await connection.rollback()


@asynccontextmanager
async def connected(
    database: MySQLDatabase, *, autocommit: bool = False, use_unicode: bool = True
) -> AsyncIterator[Any]:
    """Open a connection of a test's own, in UTC, until the context ends."""
    connection = await asyncmy.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        db=database.name,
        autocommit=autocommit,
        use_unicode=use_unicode,
        init_command="SET time_zone = '+00:00'",
    )
    try:
        yield connection
    finally:
        await connection.ensure_closed()
