"""A replica that dies, hangs or was never there costs no call, and one bounded wait at most."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.testing.local.ports import free_port
from vibework.users.v1 import user_service_pb2 as pb

from chassis.peers import breaker
from tests.harness.mysql_replication import Replication, another_replica
from tests.harness.proxy import proxy_to
from tests.harness.users import Stubs
from tests.integration.replicas.conftest import Replicated, Serve, until
from users_service.endpoints import Endpoint
from users_service.replicas.staleness import METADATA_KEY

pytestmark = pytest.mark.xdist_group("replication")

READERS = 16
USERS = 5
# Reads that may fail in a row before a replica is left alone.
TRIES = 5


async def fill(stubs: Stubs) -> None:
    """Create some users."""
    for number in range(USERS):
        await stubs.users.CreateUser(pb.CreateUserRequest(email=f"{number}@example.com"))


async def read(stubs: Stubs) -> None:
    """List the users."""
    assert len((await stubs.users.ListUsers(pb.ListUsersRequest())).users) == USERS


@asynccontextmanager
async def reading(stubs: Stubs) -> AsyncIterator[Counter[int]]:
    """Read all the time, with ``READERS`` calls in flight; yields how many each made. Any failure fails the test."""
    made: Counter[int] = Counter()
    ended = asyncio.Event()

    async def reader(number: int) -> None:
        while not ended.is_set():
            await read(stubs)
            made[number] += 1

    async with asyncio.TaskGroup() as readers:
        for number in range(READERS):
            readers.create_task(reader(number))
        try:
            yield made
        finally:
            ended.set()


async def more(made: Counter[int]) -> None:
    """Wait until every reader has made some further reads: none is stuck."""
    goal = {number: made[number] + 3 for number in range(READERS)}
    await until(lambda: all(made[number] >= wanted for number, wanted in goal.items()))


async def _disturbed(running: Replicated, disturb: Callable[[], None], repair: Callable[[], None]) -> int:
    """Read before, while and after something happens to the replica; return how many reads it failed meanwhile."""
    async with running.stubs() as stubs:
        await fill(stubs)
        async with reading(stubs) as made:
            await more(made)
            disturb()
            await until(lambda: not running.used())
            await more(made)
            failed = running.reads.replicas[0].failures
            repair()
            await until(running.used)
            served = running.reads.replicas[0].reads
            await until(lambda: running.reads.replicas[0].reads > served)
    return failed


@pytest.mark.long
async def test_a_replica_killed_under_load_fails_no_call(replicated: Replicated) -> None:
    """What it was asked is repeated on the primary, and it serves again once it is back."""
    pair = replicated.pair
    assert await _disturbed(replicated, pair.kill, pair.start) > 0
    assert replicated.reads.fallbacks["failed"] > 0


@pytest.mark.long
async def test_a_replica_that_hangs_costs_each_caller_one_bounded_wait(serve: Serve) -> None:
    """Reads that hang are cut and repeated on the primary; later ones do not even try."""
    with serve(mysql_replica_timeout_ms=500) as replicated:
        await until(replicated.used)
        pair = replicated.pair
        assert await _disturbed(replicated, pair.hang, pair.resume) <= 2 * READERS


@pytest.mark.long
async def test_replicas_that_are_not_there_stop_neither_start_nor_reads(serve: Serve) -> None:
    """A wrong address and one that refuses are out of use; the primary answers."""
    with serve(mysql_replica_hosts=f"127.0.0.1:{free_port()}, no-such-host.invalid:3306") as running:
        async with running.stubs() as stubs:
            await fill(stubs)
            await until(lambda: {replica.state for replica in running.reads.replicas} == {"unreachable"})
            await read(stubs)
            assert running.reads.fallbacks["none in use"] > 0


@pytest.mark.long
async def test_of_two_replicas_the_one_that_is_there_answers(serve: Serve, pair: Replication) -> None:
    """One replica's absence takes nothing from the other."""
    hosts = f"127.0.0.1:{free_port()},{pair.replica.host}:{pair.replica.port}"
    with serve(mysql_replica_hosts=hosts) as running:
        absent, there = running.reads.replicas
        await until(lambda: there.in_use)
        async with running.stubs() as stubs:
            await fill(stubs)
            pair.catch_up()
            await asyncio.gather(*(read(stubs) for _ in range(READERS)))
        assert absent.reads == 0
        assert there.reads > 0


async def test_a_primary_named_as_its_own_replica_is_not_one(serve: Serve, pair: Replication) -> None:
    """The primary is writable; what is named by mistake changes nothing but a line in the log."""
    with serve(mysql_replica_hosts=str(Endpoint(pair.primary.host, pair.primary.port))) as running:
        await until(lambda: running.reads.replicas[0].state == "writable")
        async with running.stubs() as stubs:
            await fill(stubs)
            await read(stubs)
        assert running.reads.replicas[0].reads == 0


@pytest.mark.long
async def test_several_servers_behind_one_address_are_told_apart(
    serve: Serve, pair: Replication, tmp_path: Path
) -> None:
    """A balancer may look after one replica and send the reads to another, which is behind: that shows nothing old."""
    with (
        another_replica(pair, tmp_path) as late,
        proxy_to(pair.replica.host, pair.replica.port) as balancer,
        serve(mysql_replica_hosts=f"127.0.0.1:{balancer.listens}") as running,
    ):
        await until(running.used)
        late.catch_up()
        late.stop_applying()
        balancer.port = late.replica.port
        async with running.stubs() as stubs:
            await fill(stubs)
            pair.catch_up()
            await until(running.used)
            await asyncio.gather(*(read(stubs) for _ in range(READERS)))
            old = ((METADATA_KEY, "100"),)
            assert len((await stubs.users.ListUsers(pb.ListUsersRequest(), metadata=old)).users) == USERS
        assert running.reads.replicas[0].reads > 0
        assert running.reads.fallbacks["behind"] > 0


@pytest.mark.long
async def test_a_replica_whose_connections_are_all_in_use_is_not_taken_for_a_broken_one(serve: Serve) -> None:
    """What waits too long for a connection goes to the primary; the replica keeps what it has."""
    with serve(mysql_replica_pool_max_connections=2, mysql_pool_acquire_timeout_ms=50) as running:
        (replica,) = running.reads.replicas
        await until(running.used)

        async def slow(connection: AsyncConnection) -> int:
            return int((await connection.execute(text("SELECT SLEEP(0.3)"))).scalar_one())

        def both() -> Coroutine[Any, Any, list[int]]:
            return _both(running.reads.query(slow), running.reads.query(slow))

        assert await asyncio.to_thread(lambda: running.server.run(both())) == [0, 0]
        assert running.reads.fallbacks["busy"] == 1
        assert replica.in_use
        assert replica.failures == 0


async def test_a_replica_on_which_reads_fail_is_left_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows and answers when looked at, and has lost a table: a few reads are repeated, not all."""
    # The while for which it is left alone does not end.
    monkeypatch.setattr(breaker, "monotonic", lambda: 0.0)
    with serve() as replicated:
        await until(replicated.used)
        replicated.pair.catch_up()
        replicated.mark("DROP TABLE verifications, rotated_session_tokens, sessions, accounts, users")
        async with replicated.stubs() as stubs:
            for _ in range(30):
                assert (await stubs.users.CountUsers(pb.CountUsersRequest())).count == 0
                await asyncio.sleep(0.03)
        (replica,) = replicated.reads.replicas
        await until(lambda: replica.state == "in use")
        assert not replica.in_use
        assert 0 < replica.failures <= TRIES


async def _both(first: Awaitable[int], second: Awaitable[int]) -> list[int]:
    return list(await asyncio.gather(first, second))
