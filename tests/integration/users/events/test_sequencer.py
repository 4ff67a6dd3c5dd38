"""The order of events: given after the commit, without a gap, by any number of sequencers, whoever dies or waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from tests.harness.databases import MySQLDatabase
from tests.harness.statements import connected, query
from tests.harness.users import settings_for
from users_service.events import repository
from users_service.events.model import OrderState, UserEventKind
from users_service.events.sequencer import Sequencer
from users_service.mysql.database import Database
from users_service.purge.service import EVENTS_KEPT, Purge

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def database(mysql_database: MySQLDatabase) -> AsyncIterator[Database]:
    """The service's access to a database."""
    async with Database(settings_for(mysql_database)) as opened:
        yield opened


async def record(database: Database, user_id: str, revision: int = 1) -> None:
    """Record an event in a transaction of its own."""
    await database.transaction(
        lambda connection: repository.record(connection, UserEventKind.CHANGED, user_id, revision, NOW)
    )


async def order(mysql_database: MySQLDatabase) -> list[tuple[int | None, str]]:
    """Return numbers and users, in order."""
    rows = await query(mysql_database, "SELECT seq, user_id FROM user_events ORDER BY seq IS NULL, seq, id")
    return [(seq, user_id) for seq, user_id in rows]


async def insert(connection: Any, user_id: str) -> None:
    """Write an event without committing it."""
    async with connection.cursor() as cursor:
        await cursor.execute("INSERT INTO user_events (user_id, kind) VALUES (%s, 'changed')", (user_id,))


async def test_an_open_transaction_is_neither_waited_for_nor_skipped(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """What commits later gets a later number, though its id is lower; the others do not wait for it."""
    sequencer = Sequencer(database)
    async with connected(mysql_database) as late:
        await insert(late, "late")
        for number in range(5):
            await record(database, f"user_{number}")
        assert (await sequencer.sequence()).reached == 5
        assert (await sequencer.look()).last.seq == 5
        await late.commit()
    await sequencer.sequence()
    expected: list[tuple[int | None, str]] = [(number + 1, f"user_{number}") for number in range(5)]
    assert await order(mysql_database) == [*expected, (6, "late")]


async def test_a_rolled_back_event_leaves_no_gap(database: Database, mysql_database: MySQLDatabase) -> None:
    """Its id is gone, and no number is."""
    async with connected(mysql_database) as lost:
        await record(database, "first")
        await insert(lost, "lost")
        await record(database, "second")
        await lost.rollback()
    await Sequencer(database).sequence()
    assert await order(mysql_database) == [(1, "first"), (2, "second")]


async def test_who_is_overtaken_gives_no_number(database: Database, mysql_database: MySQLDatabase) -> None:
    """What another sequencer has seen meanwhile decides; the slower one looks anew, whatever it had read."""
    await record(database, "a")
    old = await Sequencer(database).look()
    await record(database, "b")
    newer = await Sequencer(database).look()
    assert await database.query(lambda connection: repository.number(connection, newer))
    # The same, part of it, and what is behind it.
    for state in (newer, old, OrderState(old.last, 0, [old.pending[0] + 1_000])):
        assert not await database.query(lambda connection, state=state: repository.number(connection, state))  # type: ignore[misc]
    assert await order(mysql_database) == [(1, "a"), (2, "b")]


async def test_one_that_saw_less_and_is_slower_loses(database: Database, mysql_database: MySQLDatabase) -> None:
    """Where an event with a lower id became visible to the faster one alone, the slower one's numbers are taken."""
    async with connected(mysql_database) as late:
        await insert(late, "late")
        await record(database, "early")
        blind = await Sequencer(database).look()
        await late.commit()
    seeing = await Sequencer(database).look()
    assert (len(blind.pending), len(seeing.pending)) == (1, 2)
    assert await database.query(lambda connection: repository.number(connection, seeing))
    assert not await database.query(lambda connection: repository.number(connection, blind))
    await record(database, "last")
    await Sequencer(database).sequence()
    assert await order(mysql_database) == [(1, "late"), (2, "early"), (3, "last")]


async def _write(mysql_database: MySQLDatabase, name: str, chance: random.Random, times: int) -> int:
    """Write events in transactions that stay open for a while, some rolled back; return how many were committed."""
    committed = 0
    async with connected(mysql_database) as connection:
        for number in range(times):
            count = chance.randrange(1, 4)
            for part in range(count):
                await insert(connection, f"{name} {number} {part}")
                await asyncio.sleep(chance.random() * 0.01)
            if chance.random() < 0.2:
                await connection.rollback()
            else:
                await connection.commit()
                committed += count
    return committed


async def _sequence(sequencer: Sequencer, done: asyncio.Event) -> None:
    while not done.is_set():
        await sequencer.sequence()
        await asyncio.sleep(random.random() * 0.002)


async def _follow(database: Database, done: asyncio.Event) -> list[str]:
    """Read what follows the last number seen, as a watcher does, until all is over; return the users."""
    seen: list[str] = []
    while True:
        over = done.is_set()
        stretch = await database.query(lambda connection: repository.following(connection, len(seen) + 1, 7))
        for event in stretch.events if stretch else ():
            assert event.place.seq == len(seen) + 1
            seen.append(event.user_id)
        if over and not (stretch and stretch.events):
            return seen
        await asyncio.sleep(0.001)


async def test_many_sequencers_and_writers_make_one_order(mysql_database: MySQLDatabase) -> None:
    """Four sequencers, each with connections of its own; followers see all numbers, as they come."""
    chance, done = random.Random(7), asyncio.Event()
    async with AsyncExitStack() as stack:
        settings = settings_for(mysql_database)
        databases = [await stack.enter_async_context(Database(settings)) for _ in range(4)]
        sequencers = [Sequencer(database) for database in databases]
        running = [asyncio.create_task(_sequence(each, done)) for each in sequencers]
        following = [asyncio.create_task(_follow(database, done)) for database in databases[:2]]
        writers = (_write(mysql_database, f"w{n}", random.Random(chance.random()), 25) for n in range(6))
        committed = sum(await asyncio.gather(*writers))
        await sequencers[0].sequence()
        done.set()
        await asyncio.gather(*running)
        told = await asyncio.gather(*following)
    rows = await order(mysql_database)
    assert [seq for seq, _ in rows] == list(range(1, committed + 1))
    assert told == [[user_id for _, user_id in rows]] * 2
    # Of one writer, whose transactions follow each other, in the order of what it did.
    for writer in range(6):
        steps = [tuple(map(int, name.split()[1:])) for _, name in rows if name.startswith(f"w{writer} ")]
        assert steps == sorted(steps)


async def test_more_than_a_statement_takes_is_numbered_in_several(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """A backlog of any length is brought into order by one call."""
    count = 2 * repository.BATCH + 17
    values = ", ".join(f"('u{number:04}', 'changed')" for number in range(count))
    await query(mysql_database, f"INSERT INTO user_events (user_id, kind) VALUES {values}")
    assert (await Sequencer(database).sequence()).reached == count
    assert await order(mysql_database) == [(number + 1, f"u{number:04}") for number in range(count)]


async def _age(mysql_database: MySQLDatabase, upto: int, by: timedelta) -> None:
    statement = "UPDATE user_events SET sequenced_at = UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND WHERE seq <= %s"
    await query(mysql_database, statement, (by // timedelta(microseconds=1), upto))


async def test_the_purge_removes_from_the_beginning_and_notes_it(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """Seven days after it got its number an event goes; one that has none stays, however long ago it happened."""
    for number in range(6):
        await record(database, f"u{number}")
    await Sequencer(database).sequence()
    await record(database, "waits")
    await _age(mysql_database, 4, EVENTS_KEPT + timedelta(seconds=1))
    await _age(mysql_database, 2, EVENTS_KEPT + timedelta(days=1))
    purge = Purge(database, keep=timedelta(), batch=3)
    now = datetime.now(UTC)
    assert await purge.count(now) == 4
    assert (await purge.run(now))["user_events"] == 4
    assert [user for _, user in await order(mysql_database)] == ["u4", "u5", "waits"]
    assert (await Sequencer(database).look()).purged == 4
    assert (await purge.run(now))["user_events"] == 0


async def test_numbers_go_on_after_everything_was_purged(database: Database, mysql_database: MySQLDatabase) -> None:
    """No number is given twice, or a token would lead past what happened since."""
    for number in range(3):
        await record(database, f"u{number}")
    await Sequencer(database).sequence()
    await _age(mysql_database, 3, EVENTS_KEPT * 2)
    await Purge(database, keep=timedelta()).run(datetime.now(UTC))
    assert await order(mysql_database) == []
    await record(database, "next")
    await Sequencer(database).sequence()
    assert await order(mysql_database) == [(4, "next")]


async def test_a_purge_beside_an_open_transaction_waits_for_nobody(
    database: Database, mysql_database: MySQLDatabase
) -> None:
    """Nor do writers wait for the purge: each touches its own rows alone."""
    await record(database, "old")
    await Sequencer(database).sequence()
    await _age(mysql_database, 1, EVENTS_KEPT * 2)
    async with connected(mysql_database) as late:
        await insert(late, "late")
        assert (await Purge(database, keep=timedelta()).run(datetime.now(UTC)))["user_events"] == 1
        await late.commit()
    await Sequencer(database).sequence()
    assert await order(mysql_database) == [(2, "late")]
