"""However a call ends, MySQL has nothing of its transaction open afterwards, and its request may come again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context import calls
from chassis.errors import ConflictRetry
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.rpcs_of_users import rpcs_of_users
from tests.harness.statements import LOOK_SECONDS, open_transactions
from tests.harness.storm import Rpc, call
from tests.harness.users import UsersServer, users_service
from users_service.mysql.database import Database

# Of the test's server. What is held takes far longer.
QUERY_TIMEOUT: Final = 1.5
HELD_SECONDS: Final = 20.0
CALL_SECONDS: Final = 0.3
# How long a statement waits for a lock (users_service/mysql/session_state.py).
LOCK_WAIT_SECONDS: Final = 2.0
# Within these the server has nothing open any more: "at once", on a machine that does much else.
AT_ONCE: Final = 10.0

Work = Callable[[AsyncConnection], Awaitable[Any]]


@dataclass
class Holding:
    """Stands in the transactions of a server: notes whose they are, and holds them open or lets them fail."""

    of: set[str] = field(default_factory=set)
    seconds: float = 0.0
    error: Exception | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def around(self, work: Work) -> Work:
        """Return work that does the like, in a transaction that has written a row."""
        served = calls.current()
        if served is None:
            return work
        self.of.add(served.method.rpartition("/")[2])

        async def held(connection: AsyncConnection) -> Any:
            row = {"subject": b"%d" % next(self._numbers)}
            await connection.execute(text("INSERT INTO attempt_counters VALUES ('held', :subject, 1, NOW())"), row)
            until = monotonic() + self.seconds
            while monotonic() < until:
                await connection.execute(text("SELECT SLEEP(0.05)"))
            if self.error is not None:
                raise self.error
            return await work(connection)

        return held


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Holding:
    """Stand in every transaction."""
    standing, transaction = Holding(), Database.transaction

    async def stood_in(self: Database, work: Work) -> Any:
        return await transaction(self, standing.around(work))

    monkeypatch.setattr(Database, "transaction", stood_in)
    return standing


@pytest.fixture
def server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """Run the users service with short limits, and connections for all calls of a test at once."""
    limits: dict[str, Any] = {"mysql_query_timeout_ms": int(QUERY_TIMEOUT * 1000), "mysql_pool_max_connections": 64}
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, **limits) as served:
        yield served


async def nothing_is_open(server: UsersServer, seconds: float) -> None:
    """Fail unless MySQL has no transaction of the server open within so many seconds."""
    until = monotonic() + seconds
    while found := await open_transactions(server.database):
        assert monotonic() < until, found
        await asyncio.sleep(LOOK_SECONDS)


async def hurried(channel: Any, rpc: Rpc, request: bytes) -> str:
    """Make a call whose deadline comes in the middle of its transaction."""
    return await call(channel, rpc, request, CALL_SECONDS)


async def cancelled(channel: Any, rpc: Rpc, request: bytes) -> str:
    """Make a call and cancel it in the middle of its transaction."""
    calling = asyncio.ensure_future(call(channel, rpc, request))
    await asyncio.wait([calling], timeout=CALL_SECONDS)
    calling.cancel()
    await asyncio.wait([calling])
    return "CANCELLED"


@pytest.mark.long
async def test_no_rpc_leaves_a_transaction_open(server: UsersServer, holding: Holding) -> None:
    """Deadline, cancellation, error, query timeout: each RPC with a transaction ends it, and may be repeated."""
    with server.channel() as blocking:
        rpcs = await asyncio.to_thread(rpcs_of_users, blocking)
    async with server.aio_channel() as channel:
        # Whichever begins a transaction is known once each was called, one at a time, so that none waits too long for
        # the others; nothing is changed yet.
        holding.error = ConflictRetry()
        for rpc in rpcs:
            await call(channel, rpc, rpc.fresh())
        holding.error = None
        writing = [rpc for rpc in rpcs if rpc.method.name in holding.of]
        assert {"CreateUser", "DeleteUser", "RevokeAllSessions", "SignIn", "CreateVerification"} <= holding.of
        requests = [rpc.fresh() for rpc in writing]

        async def end(way: Callable[[Any, Rpc, bytes], Awaitable[str]], seconds: float) -> set[str]:
            holding.seconds = seconds
            ended = await asyncio.gather(*map(way, [channel] * len(writing), writing, requests))
            await nothing_is_open(server, AT_ONCE)
            return set(ended)

        assert await end(hurried, HELD_SECONDS) == {"DEADLINE_EXCEEDED"}
        assert await end(cancelled, HELD_SECONDS) == {"CANCELLED"}
        assert await end(call, HELD_SECONDS) == {"UNAVAILABLE"}
        holding.error = ConflictRetry()
        # On a busy machine one may run out of time before it comes to that.
        assert await end(call, 0.0) - {"UNAVAILABLE"} == {"ABORTED"}
    # No request is taken for one that is still in flight. A server of the same database that has patience is asked, one
    # at a time: here nothing is to be late.
    holding.error = None
    with users_service(server.database) as patient:
        async with patient.aio_channel() as channel:
            repeated = {await call(channel, rpc, request) for rpc, request in zip(writing, requests, strict=True)}
    assert repeated & {"ABORTED", "UNAVAILABLE", "INTERNAL"} == set()
    await nothing_is_open(server, AT_ONCE)


@pytest.mark.long
async def test_a_statement_that_waits_for_a_lock_ends_soon_after_its_caller(server: UsersServer) -> None:
    """Its caller gone, it has the rest of the time that a statement waits for a lock; then all of it is undone."""
    with server.channel() as blocking:
        update = next(
            rpc for rpc in await asyncio.to_thread(rpcs_of_users, blocking) if rpc.method.name == "UpdateUser"
        )
    async with server.aio_channel() as channel:
        with server.holding("SELECT * FROM users FOR UPDATE"):
            assert await call(channel, update, update.fresh(), CALL_SECONDS) == "DEADLINE_EXCEEDED"
            until = monotonic() + LOCK_WAIT_SECONDS + AT_ONCE
            # The other one is the lock's.
            while (found := await open_transactions(server.database)) != 1:
                assert monotonic() < until, found
                await asyncio.sleep(LOOK_SECONDS)
        assert await call(channel, update, update.fresh()) == "OK"
