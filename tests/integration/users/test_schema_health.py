"""Health knows the schema: a database that this version cannot serve is NOT_SERVING, and says why, until it can."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import LogCapture
from vibework.users.v1 import user_service_pb2 as pb

import users_service
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import PATIENCE_MS, PATIENCE_SECONDS
from tests.harness.users import Stubs, UsersServer
from tests.harness.users import users_service as serving
from tests.integration.users.other_systems import SOURCE
from users_service import tables
from users_service.cli import main
from users_service.mysql import revisions

CURE = "run `users-service migrate up`"
# Reasons are compared: none of them may be that a busy machine took long over a probe.
PATIENT: dict[str, Any] = {"health_timeout_ms": PATIENCE_MS, "health_interval_ms": 100}


@pytest.fixture
def logged() -> LogCapture:
    """What servers of this process log."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    return capture


@pytest.fixture
def served(mysql_database: MySQLDatabase, logged: LogCapture) -> Iterator[UsersServer]:
    """A server on a migrated database."""
    with serving(mysql_database, **PATIENT) as running:
        yield running


def reasons(logged: LogCapture) -> list[str]:
    """Return the reasons for which health was NOT_SERVING."""
    return [entry["probe"] for entry in logged.entries if entry["event"] == "not serving"]


async def until_logged(logged: LogCapture) -> None:
    """Wait for a reason: a server that starts without being able to serve logs it with its second probe."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reasons(logged):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


async def until(served: UsersServer, wanted: bool) -> None:
    """Wait until health says so; the probe comes ten times a second."""
    async with served.aio_channel() as channel, asyncio.timeout(PATIENCE_SECONDS):
        check: Any = health_pb2_grpc.HealthStub(channel)
        while True:
            answer = await check.Check(health_pb2.HealthCheckRequest())
            if (answer.status == health_pb2.HealthCheckResponse.SERVING) is wanted:
                return
            await asyncio.sleep(0.05)


def migrate(database: MySQLDatabase) -> str:
    """Run `migrate up`; return what it says."""
    result = CliRunner().invoke(main, ["migrate", "up"], env=database.environment())
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_tables_of_another_system_are_not_served(
    mysql_empty_database: MySQLDatabase, mysql_server: MySQLServer, logged: LogCapture
) -> None:
    """Four tables of the right names, without our columns: the server starts, and says what helps."""
    run_mysql(mysql_server, SOURCE, database=mysql_empty_database.name)
    starting = serving(mysql_empty_database, **PATIENT)
    served = await asyncio.to_thread(starting.__enter__)
    try:
        await until(served, wanted=False)
        await until_logged(logged)
        assert reasons(logged) == [f"the schema is not migrated: {CURE}"]
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE users DROP KEY idx_created_at", "key users.idx_created_at"),
        ("ALTER TABLE accounts DROP COLUMN scope", "column accounts.scope"),
        pytest.param("ALTER TABLE users DROP KEY idx_email", "key users.idx_email", marks=pytest.mark.long),
        pytest.param("DROP TABLE outbox", "table outbox", marks=pytest.mark.long),
    ],
)
async def test_what_is_missing_is_named_and_restored(
    served: UsersServer, logged: LogCapture, statement: str, named: str
) -> None:
    """What statements name, and what decides races, is looked for by every probe; `migrate up` puts it back."""
    await until(served, wanted=True)
    await asyncio.to_thread(served.rows, statement)
    await until(served, wanted=False)
    said = await asyncio.to_thread(migrate, served.database)
    assert f"restored {named}" in said
    await until(served, wanted=True)
    # A probe in the midst of the migration may find something else.
    assert f"the schema lacks {named}: {CURE}" in reasons(logged)


async def test_older_is_not_served_and_newer_is(
    served: UsersServer, logged: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer revision that this version does not know is served; a missing one of its own is not."""
    await until(served, wanted=True)
    await asyncio.to_thread(served.rows, "UPDATE alembic_version SET version_num = '9999'")
    await asyncio.sleep(0.5)
    await until(served, wanted=True)
    async with served.aio_channel() as channel:
        await Stubs.on(channel).users.ListUsers(pb.ListUsersRequest())
    assert reasons(logged) == []
    known = revisions.numbers()
    following = f"{int(known[-1]) + 1:04}"
    await asyncio.to_thread(served.rows, f"UPDATE alembic_version SET version_num = '{known[-1]}'")
    monkeypatch.setattr(revisions, "numbers", lambda: (*known, following))
    starting = serving(served.database, **PATIENT)
    newer = await asyncio.to_thread(starting.__enter__)
    try:
        await until(newer, wanted=False)
        await until_logged(logged)
        await until(served, wanted=True)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
    assert f"the schema is older than this version, without {following}: {CURE}" in reasons(logged)


def test_every_index_that_a_statement_names_is_looked_for() -> None:
    """Who forces an index puts it into `tables.NAMED`; else health would be SERVING without it."""
    package = Path(users_service.__file__).parent
    sources = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "tables.py")
    # In the hint itself, or as the text that is put into one; unique ones are looked for anyway.
    named = set(re.findall(r"FORCE INDEX \((idx_\w+)\)", sources)) | set(re.findall(r'"(idx_\w+)"', sources))
    unique = {index.name for table in tables.metadata.tables.values() for index in table.indexes if index.unique}
    assert named - unique == {name for _, name in tables.NAMED}
