"""Databases for tests: made fresh and empty, or with the migrated schema, in milliseconds; dropped at the end."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncmy
import pymongo

from tests.harness.database_servers import MongoServer, MySQLServer

T = TypeVar("T")

# How the name of a database that a test owns begins.
OWN_PREFIX: Final = "vw_test_"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class MySQLDatabase:
    """One database on a MySQL server, and the account to use it with."""

    host: str
    port: int
    user: str
    password: str
    name: str

    def environment(self) -> dict[str, str]:
        """Return the settings that point the users service at this database."""
        return {
            "MYSQL_HOST": self.host,
            "MYSQL_PORT": str(self.port),
            "MYSQL_USER": self.user,
            "MYSQL_PASSWORD": self.password,
            "MYSQL_DATABASE": self.name,
        }


@dataclass(frozen=True)
class MongoDatabase:
    """One database on a MongoDB replica set; `url` names it too."""

    url: str
    name: str

    def environment(self) -> dict[str, str]:
        """Return the settings that point the notifications service at this database."""
        return {"MONGODB_URL": self.url}


@contextmanager
def new_mysql_database(server: MySQLServer) -> Iterator[MySQLDatabase]:
    """Make an empty database on the server, and drop it afterwards; of a vtgate: borrow a keyspace without rows."""
    if server.keyspaces:
        from tests.harness.vitess.keyspaces import borrowed  # which needs this module

        with borrowed(server) as name:
            yield MySQLDatabase(server.host, server.port, server.user, server.password, name)
        return
    database = MySQLDatabase(server.host, server.port, server.user, server.password, _unused_name())
    run_mysql(server, [f"CREATE DATABASE `{database.name}` CHARACTER SET utf8mb4"])
    try:
        yield database
    finally:
        run_mysql(server, [f"DROP DATABASE IF EXISTS `{database.name}`"])


@contextmanager
def new_mongodb_database(server: MongoServer) -> Iterator[MongoDatabase]:
    """Name a database on the server that does not exist yet, and drop what it has become afterwards."""
    name = _unused_name()
    parts = urlsplit(server.url)
    database = MongoDatabase(urlunsplit(parts._replace(path=f"/{name}")), name)
    try:
        yield database
    finally:
        with pymongo.MongoClient[dict[str, Any]](server.url) as client:
            client.drop_database(name)


def run_mysql(server: MySQLServer, statements: list[str], *, database: str | None = None) -> list[tuple[Any, ...]]:
    """Run the statements one by one on a connection of their own; return the rows of the last."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncmy.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            db=database,
            autocommit=True,
        )
        try:
            async with connection.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(statement)
                return list(await cursor.fetchall()) if cursor.description else []
        finally:
            await connection.ensure_closed()

    return in_own_thread(run)


def in_own_thread(work: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work to its end in a thread of its own: a fixture may be called with or without a loop."""
    results: list[T] = []
    errors: list[BaseException] = []

    async def collect() -> None:
        results.append(await work())

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(collect())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=target, name="harness")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _unused_name() -> str:
    return f"{OWN_PREFIX}{os.getpid()}_{os.urandom(3).hex()}_{next(_numbers)}"
