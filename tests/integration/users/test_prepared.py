"""Statements that go past SQLAlchemy: transactions, errors and broken connections are as with its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import asyncmy.errors
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from chassis.clock import utc_now
from chassis.context.statements import named
from chassis.errors import ConflictRetry, DatabaseUnavailable
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import until
from tests.harness.statements import number_of, query
from tests.harness.users import settings_for
from users_service.attempts import repository as attempts
from users_service.attempts.repository import Counter
from users_service.mysql import database as users_database
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.database import DEADLOCK_RETRIES, RETRIES, Database
from users_service.mysql.driver_errors import DEADLOCK

INSERT = CompiledStatement(
    text("INSERT INTO attempt_counters (scope, subject, attempts, window_ends_at) VALUES ('s', :key, 1, '2030-01-01')")
)
COUNT = CompiledStatement(text("SELECT COUNT(*) FROM attempt_counters"))
SLEEP = CompiledStatement(text("SELECT SLEEP(:seconds)"))
ROWS = "SELECT LEFT(subject, 1) FROM attempt_counters ORDER BY 1"
SIZE = 6
# Seconds; a commit that takes so long itself would be a wonder.
BEFORE_COMMIT = 1.0


@pytest.fixture
async def database(mysql_database: MySQLDatabase) -> AsyncIterator[Database]:
    """A database of the test's own, with a few connections for transactions."""
    async with Database(settings_for(mysql_database, slow_query_ms=40)) as opened:
        yield opened


async def test_a_transaction_of_prepared_statements_is_committed_once(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """What it wrote is there afterwards, and neither a second commit nor a rollback took a round trip."""

    async def work(connection: AsyncConnection) -> dict[str, int]:
        await INSERT.on(connection, {"key": b"a"})
        status = await CompiledStatement(
            text("SHOW SESSION STATUS WHERE variable_name IN ('Com_commit', 'Com_rollback')")
        ).on(connection, {})
        return {name: int(value) for name, value in status.rows}

    first = await database.transaction(work)
    await query(mysql_database, "DELETE FROM attempt_counters")
    second = await database.transaction(work)
    assert second == first | {"Com_commit": first["Com_commit"] + 1}
    assert await query(mysql_database, ROWS) == [(b"a",)]


async def test_both_kinds_of_statement_are_of_one_transaction(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """They are committed together, or undone together, whichever was the last."""

    async def mixed(keys: bytes, error: type[Exception] | None, connection: AsyncConnection) -> None:
        for number, key in enumerate(keys.split()):
            if number % 2:
                await connection.execute(INSERT.statement, {"key": key})
            else:
                await INSERT.on(connection, {"key": key})
        if error is not None:
            raise error

    for keys in (b"a b", b"a b c"):
        with suppress(LookupError):
            await database.transaction(partial(mixed, keys, LookupError))
    assert await query(mysql_database, ROWS) == []
    for keys in (b"a b", b"c d"):
        await database.transaction(partial(mixed, keys, None))
    assert await query(mysql_database, ROWS) == [(b"a",), (b"b",), (b"c",), (b"d",)]


async def test_a_refused_row_undoes_nothing_of_what_went_before(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """A repository that turns a duplicate key into an answer goes on in the same transaction."""

    async def work(connection: AsyncConnection) -> None:
        await INSERT.on(connection, {"key": b"a"})
        with pytest.raises(IntegrityError) as refused:
            await INSERT.on(connection, {"key": b"a"})
        assert "parameters hidden" in str(refused.value)
        await INSERT.on(connection, {"key": b"b"})

    await database.transaction(work)
    assert await query(mysql_database, ROWS) == [(b"a",), (b"b",)]


async def test_a_transaction_whose_connection_is_killed_is_done_again(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """Once killed, it is carried out whole on another connection; killed each time, the caller may try again."""
    used: list[int] = []
    kills = 1

    async def work(connection: AsyncConnection) -> None:
        await INSERT.on(connection, {"key": b"a"})
        used.append(number_of(connection))
        if len(used) <= kills:
            await query(mysql_database, f"KILL {used[-1]}")
        await INSERT.on(connection, {"key": b"b"})

    await database.transaction(work)
    assert len(set(used)) == 2
    assert await query(mysql_database, ROWS) == [(b"a",), (b"b",)]
    await query(mysql_database, "DELETE FROM attempt_counters")
    used.clear()
    kills = RETRIES
    with pytest.raises(DatabaseUnavailable):
        await database.transaction(work)
    assert len(used) == RETRIES
    assert await query(mysql_database, ROWS) == []


async def test_who_loses_deadlocks_tries_again_and_again(
    database: Database, mysql_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over shards those who race for one value end each other: all but the last attempt may be lost, and no more."""
    monkeypatch.setattr(users_database, "LONGEST_PAUSE", 0.01)
    runs, lost = 0, DEADLOCK_RETRIES - 1

    async def work(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await INSERT.on(connection, {"key": b"a"})
        if runs <= lost:
            raise OperationalError("", {}, asyncmy.errors.OperationalError(DEADLOCK, "Deadlock found"))

    await database.transaction(work)
    assert runs == DEADLOCK_RETRIES
    assert await query(mysql_database, ROWS) == [(b"a",)]
    await query(mysql_database, "DELETE FROM attempt_counters")
    runs, lost = 0, DEADLOCK_RETRIES
    with pytest.raises(ConflictRetry):
        await database.transaction(work)
    assert runs == DEADLOCK_RETRIES


async def test_a_commit_that_is_not_answered_is_not_repeated(database: Database, mysql_database: MySQLDatabase) -> None:
    """Whether it took effect is not known, so the work runs once and the caller is told to look."""
    runs = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await query(mysql_database, f"KILL {number_of(connection)}")

    with pytest.raises(DatabaseUnavailable):
        await database.transaction(work)
    assert runs == 1


async def test_cancelled_statements_leave_a_whole_pool(database: Database, mysql_database: MySQLDatabase) -> None:
    """Who leaves in the middle of a statement leaves neither rows nor its answer to the next, nor keeps a place."""

    async def slow(connection: AsyncConnection) -> None:
        await INSERT.on(connection, {"key": b"a"})
        inserted.set()
        await SLEEP.on(connection, {"seconds": 0.5})

    for _ in range(2):
        inserted = asyncio.Event()
        tasks = [asyncio.create_task(database.transaction(slow)) for _ in range(SIZE)]
        # The others wait for its row.
        await inserted.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(connection: AsyncConnection) -> tuple[Any, ...] | None:
        await SLEEP.on(connection, {"seconds": 0.01})
        return (await COUNT.on(connection, {})).one_or_none()

    assert await asyncio.gather(*(database.transaction(look) for _ in range(4 * SIZE))) == [(0,)] * 4 * SIZE
    # What was left is rolled back, or waits for a row of its neighbours, a moment longer than its caller.
    await until(lambda: database.pools()["transactions"].idle == SIZE, "the pool")
    use = database.pools()["transactions"]
    assert (use.size, use.waiting, use.timeouts) == (SIZE, 0, 0)


@named
async def slow_one(connection: AsyncConnection) -> None:
    """Send a statement that is slow."""
    await SLEEP.on(connection, {"seconds": 0.1})


async def test_a_slow_statement_that_is_given_up_is_told_of_by_shapes(mysql_database: MySQLDatabase) -> None:
    """What takes longer than a statement may is told of by the kinds of what was sent, as all statements are."""

    async def work(connection: AsyncConnection) -> None:
        await SLEEP.on(connection, {"seconds": 30})

    settings = settings_for(mysql_database, slow_query_ms=40, mysql_query_timeout_ms=1_500)
    async with Database(settings) as database:
        with capture_logs() as told, pytest.raises(DatabaseUnavailable):
            await database.transaction(work)
    given_up = [(line["parameters"], line["failure"]) for line in told if "failure" in line]
    assert given_up == [(["int"], "CancelledError")]


async def test_an_error_that_is_no_databases_passes_as_it_is(database: Database) -> None:
    """A defect of ours shows as itself, not with the statement in its text, and its connection is not used again."""
    used: list[int] = []

    async def work(connection: AsyncConnection) -> None:
        used.append(number_of(connection))
        await INSERT.on(connection, {"key": "\ud800"})

    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            await database.transaction(work)
    assert len(set(used)) == 2


async def test_a_commit_that_fails_is_timed_by_itself(database: Database, mysql_database: MySQLDatabase) -> None:
    """What was slow before it is not told of as if it were the commit."""

    async def work(connection: AsyncConnection) -> None:
        number = number_of(connection)
        await asyncio.sleep(BEFORE_COMMIT)
        await query(mysql_database, f"KILL {number}")

    with capture_logs() as told, pytest.raises(DatabaseUnavailable):
        await database.transaction(work)
    slow = [line["ms"] for line in told if line["event"] == "slow statement"]
    assert not [ms for ms in slow if ms >= BEFORE_COMMIT * 1_000]


async def test_prepared_statements_are_told_of_by_name(database: Database) -> None:
    """The log of slow statements has them, once each."""
    await database.transaction(slow_one)
    (counted,) = database.queries.collect()
    counts = {dict(sample[0])["statement"]: sample[1] for sample in counted.samples}
    # The commit may be slow, too.
    assert counts.pop("integration.slow_one") == 1
    assert counts.keys() <= {"mysql.commit"}


async def test_a_counter_tells_that_it_is_over_its_limit_and_forgets_it_told(database: Database) -> None:
    """The answer is of this statement: on the same connection the next subject's attempt is within its limit."""
    now = utc_now()
    ends = now + timedelta(minutes=1)
    full, other = Counter("s:identifier", b"f" * 32, 2), Counter("s:address", b"o" * 32, 100)

    async def count(connection: AsyncConnection) -> list[bool]:
        told = [await attempts.increment(connection, [full, other], now, ends) for _ in range(4)]
        told.append(await attempts.increment(connection, [other], now, ends))
        told.append(await attempts.increment(connection, [full], ends, ends + timedelta(minutes=1)))
        return told

    assert await database.transaction(count) == [True, True, False, False, True, True]
