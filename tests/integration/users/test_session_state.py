"""Every way to MySQL has the session that the service needs, on a server whose defaults are all different."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import CreateUserRequest, GetUserRequest, ListUsersRequest

from chassis.telemetry.queries import Queries, Target
from script.local.mysql import LocalMySQL
from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.schema_templates import migrate
from tests.harness.users import BlockingStubs, settings_for, users_service
from tests.integration.backup.commands import at_once
from users_service.backup.connection import connected
from users_service.endpoints import Endpoint
from users_service.migrations import runner
from users_service.mysql.database import Database
from users_service.mysql.session_state import PATIENCE_SECONDS
from users_service.replicas.gtid_sets import Log
from users_service.replicas.link import Link
from users_service.replicas.replica import Replica
from users_service.settings import DatabaseSettings

# An emoji takes four bytes: the first thing that a wrong character set loses.
PARTY: Final = "🎉 party"
ACCOUNT: Final = f"'service'@'{LOOPBACK}'"
# What an operator, or a cloud, may have set for new sessions.
OPTIONS: Final = (
    "--character-set-server=latin1",
    "--skip-character-set-client-handshake",
    "--default-time-zone=+05:30",
    "--sql-mode=ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES",
    "--transaction-isolation=SERIALIZABLE",
    "--init-connect=SET NAMES utf8",
)
HOSTILE: Final = (
    "SET GLOBAL autocommit = 0",
    "SET GLOBAL completion_type = 'RELEASE'",
    "SET GLOBAL foreign_key_checks = 0",
    "SET GLOBAL unique_checks = 0",
    "SET GLOBAL sql_select_limit = 1",
    "SET GLOBAL sql_auto_is_null = 1",
    "SET GLOBAL sql_safe_updates = 1",
    "SET GLOBAL sql_big_selects = 0",
    "SET GLOBAL innodb_lock_wait_timeout = 50",
    "SET GLOBAL lock_wait_timeout = 77",
    "SET GLOBAL /*M!100100 tx_read_only */ /*!80000 transaction_read_only */ = 1",
    "SET GLOBAL /*M!100100 max_statement_time = 77 */ /*!80000 max_execution_time = 77000 */",
)
STATE: Final = (
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection,"
    " @@time_zone, @@sql_mode, @@foreign_key_checks, @@unique_checks, @@sql_select_limit, @@sql_auto_is_null,"
    " @@sql_safe_updates, @@sql_big_selects, @@innodb_lock_wait_timeout, @@completion_type,"
    " /*M!100100 @@tx_isolation, @@tx_read_only */ /*!80000 @@transaction_isolation, @@transaction_read_only */"
)
LIMIT: Final = "SELECT /*M!100100 @@max_statement_time */ /*!80000 @@max_execution_time / 1000 */, @@autocommit"
PATIENCE: Final = "SELECT @@lock_wait_timeout"
STRICT: Final = {
    "STRICT_ALL_TABLES",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_ENGINE_SUBSTITUTION",
}

Row = tuple[Any, ...]
Ask = Callable[[str], Awaitable[Row]]
Work = Callable[[Ask], Awaitable[list[Row]]]
Way = Callable[[DatabaseSettings, Work], Coroutine[Any, Any, list[Row]]]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLServer]:
    """A server that gives new sessions everything that the service does not want."""
    local = LocalMySQL(tmp_path_factory.mktemp("hostile"), MySQLAccount("admin", "admin"), options=OPTIONS)
    local.start()
    server = MySQLServer(LOOPBACK, local.port, "admin", "admin")
    # `init_connect` passes over administrators, so the service's account is none.
    grants = [f"GRANT ALL PRIVILEGES ON `{name}`.* TO {ACCOUNT}" for name in ("vibework", "restored")]
    made = [f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4" for name in ("vibework", "restored")]
    run_mysql(server, [*made, f"CREATE USER {ACCOUNT} IDENTIFIED BY 'service'", *grants, *HOSTILE])
    yield server
    local.kill()


@pytest.fixture(scope="module")
def database(hostile: MySQLServer) -> MySQLDatabase:
    """The service's database there, migrated by the service's own command."""
    found = MySQLDatabase(hostile.host, hostile.port, "service", "service", "vibework")
    migrate("users_service", found.environment())
    return found


def of(connection: AsyncConnection) -> Ask:
    """Ask on a connection of SQLAlchemy's."""

    async def ask(statement: str) -> Row:
        return tuple((await connection.execute(text(statement))).one())

    return ask


async def transactions(settings: DatabaseSettings, work: Work) -> list[Row]:
    """What writes."""
    async with Database(settings) as database:
        return await database.transaction(lambda connection: work(of(connection)))


async def reads(settings: DatabaseSettings, work: Work) -> list[Row]:
    """Lists, counts, and all that `status`, `explain` and other commands read."""
    async with Database(settings) as database, database.connection() as connection:
        return await work(of(connection))


async def points(settings: DatabaseSettings, work: Work) -> list[Row]:
    """The hot reads."""
    async with Database(settings) as database:

        async def ask(statement: str) -> Row:
            values = (await database.read(statement, ()))[0]
            return tuple(value.decode() if isinstance(value, bytes) else value for value in values)

        return await work(ask)


async def replica(settings: DatabaseSettings, work: Work) -> list[Row]:
    """Reads on a replica."""
    target = Target("mysql", settings.mysql_database, settings.mysql_host, settings.mysql_port)
    followed = Replica(settings, Endpoint(settings.mysql_host, settings.mysql_port), Log(1), Queries(target, 0, None))
    try:
        async with followed._engine.connect() as connection:
            return await work(of(connection))
    finally:
        await followed.close()


async def link(settings: DatabaseSettings, work: Work) -> list[Row]:
    """What a replica is asked about itself."""
    opened = Link(settings, 10)

    async def ask(statement: str) -> Row:
        return tuple((await opened._rows(statement))[0])

    try:
        return await work(ask)
    finally:
        await opened.close()


async def migrations(settings: DatabaseSettings, work: Work) -> list[Row]:
    """`migrate`."""
    async with runner._connected(settings) as connection:
        return await work(of(connection))


async def backups(settings: DatabaseSettings, work: Work) -> list[Row]:
    """`backup` and `restore`."""
    async with connected(settings) as connection:

        async def ask(statement: str) -> Row:
            return (await connection.rows(statement))[0]

        return await work(ask)


# Where the code connects, and the ways that begin there.
WAYS: Final[dict[str, tuple[Way, ...]]] = {
    "users_service/mysql/engines.py": (transactions, reads, replica, migrations),
    "users_service/mysql/pools.py": (points,),
    "users_service/replicas/link.py": (link,),
    "users_service/backup/connection.py": (backups,),
}
# Backups read and write what any mode has let in.
MODELESS: Final = (backups,)
# Of these the server gives up a statement, a second after the service has.
LIMITED: Final = (transactions, reads, points, replica, link)
CONNECTING: Final = {"connect", "create_pool", "create_engine", "create_async_engine", "async_engine_from_config"}


def connects(path: Path) -> bool:
    """Whether a module calls what opens connections: of asyncmy, or SQLAlchemy's engines."""
    source = path.read_text()
    if not any(name in source for name in CONNECTING):
        return False
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id="asyncmy"), attr=name) if name in CONNECTING:
                return True
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in CONNECTING - {"connect"}:
                return True
    return False


def test_each_place_that_connects_is_looked_at_here() -> None:
    """A new way to MySQL cannot appear without being held to the same session."""
    packages = ("users_service", "notifications_service", "chassis", "migrations")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert {str(path.relative_to(ROOT)) for path in modules if connects(path)} == set(WAYS)


@pytest.mark.long
@pytest.mark.parametrize("way", [way for ways in WAYS.values() for way in ways], ids=lambda way: str(way.__name__))
def test_every_way_has_the_same_session(way: Way, database: MySQLDatabase) -> None:
    """Nothing that a statement means depends on what the server gives to new sessions."""
    settings = settings_for(database, mysql_query_timeout_ms=20_000)

    async def look(ask: Ask) -> list[Row]:
        return [await ask(STATE), await ask(LIMIT), await ask(PATIENCE)]

    state, (limit, autocommit), (patience,) = asyncio.run(way(settings, look))
    assert state[:5] == ("utf8mb4", "utf8mb4", "utf8mb4", "utf8mb4_bin", "+00:00")
    assert set(state[5].split(",")) == ({""} if way in MODELESS else STRICT)
    assert state[6:] == (1, 1, 2**63 - 1, 0, 0, 1, 2, "NO_CHAIN", "READ-COMMITTED", 0)
    assert float(limit) == (21 if way in LIMITED else 0)
    # Behind a change of the schema, too, a statement waits no longer than it may take; a command waits a little.
    assert patience == 20 if way in LIMITED else patience <= PATIENCE_SECONDS
    assert autocommit == (way is not transactions)


@pytest.mark.long
def test_text_comes_back_as_it_was_given(hostile: MySQLServer, database: MySQLDatabase, tmp_path: Path) -> None:
    """What four bytes a character need is stored, read, listed, backed up and restored as it is."""
    with users_service(database) as served, served.channel() as channel:
        stub = BlockingStubs.on(channel).users
        user = stub.CreateUser(CreateUserRequest(email="party@example.com", name=PARTY)).user
        assert stub.GetUser(GetUserRequest(id=user.id)).user.name == PARTY
        assert [each.name for each in stub.ListUsers(ListUsersRequest()).users] == [PARTY]

    file = tmp_path / "backup"
    saved = at_once(database, "backup", file)
    assert saved.exit_code == 0, saved.output
    into = MySQLDatabase(database.host, database.port, database.user, database.password, "restored")
    restored = at_once(into, "restore", file)
    assert restored.exit_code == 0, restored.output
    assert run_mysql(hostile, ["SELECT HEX(name) FROM restored.users"]) == [(PARTY.encode().hex().upper(),)]
    with users_service(into) as served, served.channel() as channel:
        assert BlockingStubs.on(channel).users.GetUser(GetUserRequest(id=user.id)).user == user
