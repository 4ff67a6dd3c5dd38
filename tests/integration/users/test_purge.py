"""`users-service purge` and the server's own: what has ended goes, what lives stays, and nobody is held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner
from vibework.users.v1 import session_service_pb2, user_service_pb2

from tests.harness.clocks import FrozenClock
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import wait_for
from tests.harness.statements import holding, query
from tests.harness.users import BlockingStubs, UsersServer, settings_for, users_service
from users_service.cli import main
from users_service.mysql import locks
from users_service.mysql.database import Database
from users_service.purge.service import Purge, PurgeRunning

DAY = timedelta(days=1)
NO_TIME = timedelta()


@pytest.fixture
def clock() -> FrozenClock:
    """The time of the test."""
    return FrozenClock()


@pytest_asyncio.fixture
async def database(mysql_database: MySQLDatabase) -> AsyncIterator[Database]:
    """The service's access to a database."""
    opened = Database(settings_for(mysql_database))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def fill(mysql_server: MySQLServer, mysql_database: MySQLDatabase, clock: FrozenClock) -> Callable[..., None]:
    """Store rows in every table that ends some time from now on (or ended before): ``number`` in each."""

    def store(name: str, ends: timedelta, *, number: int = 1, revoked: timedelta | None = None) -> None:
        at = f"'{clock() + ends:%Y-%m-%d %H:%M:%S.%f}'"
        day_before = f"'{clock() + ends - DAY:%Y-%m-%d %H:%M:%S.%f}'"
        revoked_at = "NULL" if revoked is None else f"'{clock() + revoked:%Y-%m-%d %H:%M:%S.%f}'"
        ids = [f"{name}_{n}" for n in range(number)]

        def rows(pattern: str) -> str:
            return ", ".join(pattern.replace("ID", id_) for id_ in ids)

        statements = [
            "INSERT IGNORE INTO users (id, email, email_normalized) VALUES ('user_1', 'a@b.cc', 'a@b.cc')",
            "INSERT INTO sessions (id, user_id, token_hash, expires_at, revoked_at) VALUES "
            + rows(f"('ID', 'user_1', UNHEX(SHA2('ID', 256)), {at}, {revoked_at})"),
            "INSERT INTO rotated_session_tokens (token_hash, session_id) VALUES "
            + rows("(UNHEX(SHA2('old ID', 256)), 'ID')"),
            "INSERT INTO verifications (id, identifier, value, purpose, kind, expires_at) VALUES "
            + rows(f"('ID', 'ID', 'v', 'p', 'code', {at})"),
            "INSERT INTO attempt_counters (scope, subject, attempts, window_ends_at) VALUES "
            + rows(f"('s', UNHEX(SHA2('ID', 256)), 1, {at})"),
            "INSERT INTO idempotency_keys (method, request_id, fingerprint, created_at) VALUES "
            + rows(f"('M', 'ID', UNHEX(SHA2('ID', 256)), {day_before})"),
        ]
        run_mysql(mysql_server, ["SET time_zone = '+00:00'", *statements], database=mysql_database.name)

    return store


async def left(mysql_database: MySQLDatabase) -> dict[str, set[str]]:
    """Return the ids that are left, by table."""
    columns = {"sessions": "id", "rotated_session_tokens": "session_id", "verifications": "id"}
    columns["idempotency_keys"] = "request_id"
    return {
        table: {row[0] for row in await query(mysql_database, f"SELECT {column} FROM {table}")}
        for table, column in columns.items()
    }


async def test_what_has_ended_goes_and_what_lives_stays(
    database: Database, mysql_database: MySQLDatabase, clock: FrozenClock, fill: Callable[..., None]
) -> None:
    """To the microsecond: an end at this very moment is not yet past; a revoked session has ended whatever its end."""
    fill("past", -timedelta(microseconds=1))
    fill("now", NO_TIME)
    fill("future", DAY)
    fill("revoked", DAY, revoked=-timedelta(microseconds=1))
    removed = await Purge(database, keep=NO_TIME).run(clock())
    assert removed == {
        "sessions": 2,
        "verifications": 1,
        "attempt_counters": 1,
        "idempotency_keys": 1,
        "user_events": 0,
    }
    rows = await left(mysql_database)
    assert rows["sessions"] == rows["rotated_session_tokens"] == {"now_0", "future_0"}
    assert rows["verifications"] == rows["idempotency_keys"] == {"now_0", "future_0", "revoked_0"}


async def test_what_is_kept_for_audit_stays(
    database: Database, mysql_database: MySQLDatabase, clock: FrozenClock, fill: Callable[..., None]
) -> None:
    """Ended sessions and verifications are kept for as long as asked; what nobody audits is not."""
    fill("old", -8 * DAY)
    fill("recent", -6 * DAY)
    fill("revoked", 20 * DAY, revoked=-8 * DAY)
    fill("just_revoked", 20 * DAY, revoked=-6 * DAY)
    removed = await Purge(database, keep=7 * DAY).run(clock())
    assert removed == {
        "sessions": 2,
        "verifications": 1,
        "attempt_counters": 2,
        "idempotency_keys": 2,
        "user_events": 0,
    }
    assert (await left(mysql_database))["sessions"] == {"recent_0", "just_revoked_0"}


async def test_many_rows_go_in_batches_that_are_counted(
    database: Database, clock: FrozenClock, fill: Callable[..., None]
) -> None:
    """No statement removes more than a batch; what is announced beforehand is what is removed in the end."""
    fill("past", -DAY, number=250)
    told = list[tuple[str, int]]()
    purge = Purge(database, keep=NO_TIME, batch=100)
    announced = await purge.count(clock())
    removed = await purge.run(clock(), lambda table, rows: told.append((table, rows)))
    assert announced == sum(removed.values()) == sum(rows for _, rows in told) == 4 * 250
    assert [rows for table, rows in told if table == "verifications"] == [100, 100, 50]


async def test_one_process_purges_at_a_time(
    database: Database, mysql_database: MySQLDatabase, clock: FrozenClock, fill: Callable[..., None]
) -> None:
    """A second one says that another is at it; the lock is free again afterwards, also after a failure."""
    fill("past", -DAY)
    purge = Purge(database, keep=NO_TIME)
    name = locks.lock_name("purge", mysql_database.name)
    async with database.session() as connection:
        assert await locks.acquire(connection, name, 0)
        with pytest.raises(PurgeRunning):
            await purge.run(clock())
        await locks.release(connection, name)

    def fail(_table: str, _rows: int) -> None:
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError):
        await purge.run(clock(), fail)
    assert (await purge.run(clock()))["verifications"] == 1


async def test_rows_in_use_are_waited_for_and_hold_nobody_up(
    database: Database, mysql_database: MySQLDatabase, clock: FrozenClock, fill: Callable[..., None]
) -> None:
    """Beside a transaction that holds an ended row the purge waits its turn; living rows are never locked."""
    fill("past", -DAY, number=10)
    fill("future", DAY, number=10)
    held = "SELECT id FROM sessions WHERE id = 'past_5' FOR UPDATE"
    with holding(mysql_database, held):
        task = asyncio.create_task(Purge(database, keep=NO_TIME).run(clock()))
        await asyncio.sleep(0.3)
        for number in range(10):
            await query(mysql_database, f"UPDATE sessions SET last_seen_at = NOW() WHERE id = 'future_{number}'")
        assert not task.done()
    assert (await task)["sessions"] == 10


def test_the_command_counts_what_it_removed(
    mysql_database: MySQLDatabase, fill: Callable[..., None], clock: FrozenClock
) -> None:
    """The operator sees how many rows of each table went, and how many in all."""
    fill("past", -2 * DAY, number=3)
    run = CliRunner().invoke(main, ["purge", "--keep-days", "30"], env=mysql_database.environment())
    assert (run.exit_code, run.output.splitlines()[-1]) == (0, "6 rows removed")
    run = CliRunner().invoke(main, ["purge", "--batch", "2"], env=mysql_database.environment())
    assert run.exit_code == 0
    assert run.output.splitlines() == [
        "sessions: 3",
        "verifications: 3",
        "attempt_counters: 0",
        "idempotency_keys: 0",
        "user_events: 0",
        "6 rows removed",
    ]


def test_a_row_that_other_tables_refer_to_stops_nothing(
    mysql_server: MySQLServer, mysql_database: MySQLDatabase, fill: Callable[..., None]
) -> None:
    """Another system's table may refer to sessions: they stay, are counted and named, and all others go."""
    fill("past", -2 * DAY, number=5, revoked=-3 * DAY)
    fill("future", DAY)
    column = "session_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
    statements = [
        f"CREATE TABLE audit ({column}, FOREIGN KEY (session_id) REFERENCES sessions (id))",
        "INSERT INTO audit VALUES ('past_0'), ('past_3')",
    ]
    run_mysql(mysql_server, statements, database=mysql_database.name)
    for rows in (3, 0):
        run = CliRunner().invoke(main, ["purge", "--batch", "2"], env=mysql_database.environment())
        assert (run.exit_code, run.stdout.splitlines()[0]) == (1, f"sessions: {rows}")
        told = "2 sessions left: tables that the service does not know refer to them: past_0, past_3"
        assert run.stderr.splitlines()[-1] == told
        assert "DELETE" not in run.output
    run_mysql(mysql_server, ["DROP TABLE audit"], database=mysql_database.name)
    run = CliRunner().invoke(main, ["purge"], env=mysql_database.environment())
    assert (run.exit_code, run.stdout.splitlines()[0]) == (0, "sessions: 2")


def test_a_purge_whose_clock_is_ahead_removes_nothing_that_lives(mysql_database: MySQLDatabase) -> None:
    """By the database's clock a session lives on, whatever the process that purges takes for now."""
    clock, ahead = FrozenClock(), FrozenClock()
    ahead.advance(30 * DAY)
    with (
        users_service(mysql_database, clock) as server,
        server.channel() as channel,
        users_service(mysql_database, ahead, clock, purge_interval_ms=50, purge_keep_days=0),
    ):
        stubs = BlockingStubs.on(channel)
        user = stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email="a@example.com")).user
        kept = stubs.sessions.CreateSession(session_service_pb2.CreateSessionRequest(user_id=user.id))
        ended = stubs.sessions.CreateSession(
            session_service_pb2.CreateSessionRequest(user_id=user.id, do_not_remember=True)
        )
        clock.advance(2 * DAY)
        waits_until_gone(server, ended.session.id)
        assert server.rows("SELECT id FROM sessions") == [(kept.session.id,)]


def waits_until_gone(server: UsersServer, session_id: str) -> None:
    """Wait until a purge has removed a session."""
    wait_for(lambda: not server.rows("SELECT 1 FROM sessions WHERE id = %s", session_id), "the purge")


def test_the_server_purges_by_itself(mysql_database: MySQLDatabase) -> None:
    """Without an operator, ended sessions are gone once they were kept for as long as the setting says."""
    clock = FrozenClock()
    with (
        users_service(mysql_database, clock, purge_interval_ms=50, purge_keep_days=7) as server,
        server.channel() as channel,
    ):
        stubs = BlockingStubs.on(channel)
        user = stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email="a@example.com")).user
        create = session_service_pb2.CreateSessionRequest(user_id=user.id)
        stubs.sessions.CreateSession(create)

        def sessions() -> Any:
            return server.rows("SELECT COUNT(*) FROM sessions")[0][0]

        clock.advance(14 * DAY - timedelta(seconds=1))
        time.sleep(0.3)
        assert sessions() == 1
        clock.advance(timedelta(seconds=2))
        wait_for(lambda: sessions() == 0, "the purge")
