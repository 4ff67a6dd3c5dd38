"""What watching users costs: statements, entries of indexes, and nothing after the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from vibework.users.v1 import session_service_pb2 as sessions_pb

from chassis.context import statements
from chassis.telemetry import registry
from chassis.telemetry.queries import Queries
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.statements import query
from tests.harness.users import Stubs, UsersServer, settings_for, users_service
from tests.harness.watching_users import watching_users
from tests.integration.telemetry.scraping import metrics_port, scrape
from tests.integration.users.ways_to_sign_in import PASSWORD, new_email, new_user
from users_service.events import repository
from users_service.mysql.database import Database

# What the hub asks for, and health.
BESIDE = {"events.look", "events.number", "events.following", "mysql.ping"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all statements that this process sends, in order."""
    names: list[str] = []
    ended: Callable[..., None] = Queries.ended

    def noting(self: Queries, *arguments: Any, **options: Any) -> None:
        names.append(statements.current())
        ended(self, *arguments, **options)

    monkeypatch.setattr(Queries, "ended", noting)
    return names


async def test_a_sign_up_sends_one_statement_more_and_none_after_its_commit(
    users: Stubs, users_server: UsersServer, sent: list[str]
) -> None:
    """The event is written within the transaction; the watchers of the process are woken without asking anything."""
    async with watching_users(users.users, heartbeat_interval=Duration(seconds=300)) as watch:
        for _ in range(5):
            del sent[:]
            request = sessions_pb.SignUpRequest(email=new_email(), password=PASSWORD)
            answer = await users.sessions.SignUp(request)
            ((_, user_id, _),) = await watch.told(1)
            assert user_id == answer.user.id
            own = [name for name in sent if name not in BESIDE]
            assert own.count("events.record") == 1
            assert own[-1] == "mysql.commit"
            assert own.index("users.insert_user") < own.index("events.record")


async def test_an_idle_poll_is_one_statement(mysql_database: MySQLDatabase, sent: list[str]) -> None:
    """While nothing happens nothing else is asked, however many watch."""
    with users_service(mysql_database, watch_poll_ms=10, health_interval_ms=3_600_000) as server:
        async with server.aio_channel() as channel:
            users = Stubs.on(channel).users
            interval = Duration(seconds=300)
            async with (
                watching_users(users, heartbeat_interval=interval),
                watching_users(users, heartbeat_interval=interval),
            ):
                del sent[:]
                await until(lambda: len(sent) >= 20, "some polls")
                assert set(sent) - {"mysql.ping"} == {"events.look"}


@pytest.fixture(scope="module")
def filled(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A database with a week of events, of which some wait."""
    with migrated_mysql(test_run, mysql_server) as database:
        yield database


async def test_statements_read_what_they_return(filled: MySQLDatabase) -> None:
    """By index entries, on a table of 20,000 events: the look, a batch of numbers, a part of the history."""
    insert = "INSERT INTO user_events (seq, sequenced_at, user_id, kind, revision)"
    values = "SELECT i, UTC_TIMESTAMP(6), CONCAT('user_', i), 'changed', 1 FROM n"
    for start in range(0, 20_000, 1_000):
        # Within the depth to which MySQL recurses by default.
        of = f"WITH RECURSIVE n (i) AS (SELECT {start + 1} UNION ALL SELECT i + 1 FROM n WHERE i < {start + 1_000})"
        await query(filled, f"{insert} {of} {values}")
    await query(filled, "INSERT INTO user_events (user_id, kind) VALUES ('a', 'changed'), ('b', 'changed')")
    await query(filled, "ANALYZE TABLE user_events")
    async with Database(settings_for(filled)) as database:
        state = await database.query(repository.look)
        if state is None:
            await database.query(lambda connection: repository.begin_history(connection, bytes(16)))

        async def counted(work: Callable[[Any], Any]) -> int:
            async def measured(connection: Any) -> int:
                await connection.exec_driver_sql("FLUSH STATUS")
                await work(connection)
                rows = await connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
                return sum(int(value) for _, value in rows)

            return await database.query(measured)

        # The row of the history, the last event, those that wait, and one behind them; derived tables read again.
        assert await counted(repository.look) <= 20
        state = await database.query(repository.look)
        assert state is not None
        assert len(state.pending) == 2
        assert await counted(lambda connection: repository.number(connection, state)) <= 12
        assert (await database.query(repository.look)).reached == 20_002  # type: ignore[union-attr]
        assert await counted(repository.look) <= 12
        assert await counted(lambda connection: repository.following(connection, 10_000, 50)) <= 160
        assert await counted(repository.waiting_since) <= 4


async def test_metrics_tell_of_watchers_and_of_the_order(
    mysql_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many watch, how much was brought into order, and that nothing waits."""
    # No number is left out because a busy machine is late.
    monkeypatch.setattr(registry, "PATIENCE", PATIENCE_SECONDS)
    port, settings = metrics_port()
    with users_service(mysql_database, **settings) as server:
        async with server.aio_channel() as channel, watching_users(Stubs.on(channel).users) as watch:
            for _ in range(3):
                await new_user(Stubs.on(channel))
            await watch.told(3)
            found = await scrape(port)
            assert found.value("vibework_watchers") == 1
            assert found.value("vibework_watchers_limit") == 5_000
            assert found.value("vibework_user_events_total") == 3
            assert found.value("vibework_user_events_waiting_seconds") == 0
            assert found.value("vibework_watch_stream_lag_seconds") < 60
