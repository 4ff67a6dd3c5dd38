"""What callers see, and what is left in the tables, when MySQL goes away in the middle of things."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import asyncmy.errors
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.verification_service_pb2 import VERIFICATION_PURPOSE_SIGN_IN as SIGN_IN

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.proxy import Proxy, proxy_to
from tests.harness.statements import number_of, query
from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, users_service
from tests.integration.users.ways_to_sign_in import new_session, session_is_valid, verification
from users_service.migrations import runner
from users_service.mysql import compiled
from users_service.mysql import database as users_database
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.database import Database

CREATES = [
    "INSERT INTO idempotency_keys",
    "INSERT INTO users",
    "INSERT INTO user_events",
    "INSERT INTO accounts",
    "UPDATE idempotency_keys",
]
DELETES = ["DELETE FROM sessions", "DELETE FROM accounts", "DELETE FROM verifications", "DELETE FROM users", "outbox"]

# Of DisableUser, each before the connection is killed.
DISABLES = ["FOR UPDATE", "UPDATE users SET", "FROM verifications", "DELETE FROM verifications", "UPDATE sessions SET"]


@pytest.fixture(scope="module")
def proxy(mysql_server: MySQLServer) -> Iterator[Proxy]:
    """A proxy between the users service and MySQL."""
    with proxy_to(mysql_server.host, mysql_server.port) as running:
        yield running


@pytest.fixture(scope="module")
def database(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """The module's database, reached past the proxy."""
    with migrated_mysql(test_run, mysql_server) as migrated:
        yield migrated


@pytest.fixture(scope="module")
def users_server(database: MySQLDatabase, proxy: Proxy) -> Iterator[UsersServer]:
    """A server whose connections to MySQL go through the proxy."""
    with users_service(replace(database, host=LOOPBACK, port=proxy.listens)) as served:
        yield served


@pytest.fixture
def hasty_server(database: MySQLDatabase, proxy: Proxy) -> Iterator[UsersServer]:
    """The same with short limits, for tests that reach them."""
    limits: dict[str, Any] = {
        "mysql_query_timeout_ms": 3_000,
        "mysql_pool_acquire_timeout_ms": 1_000,
        "health_timeout_ms": 300,
    }
    with users_service(replace(database, host=LOOPBACK, port=proxy.listens), **limits) as served:
        yield served


@pytest.fixture
async def hasty(hasty_server: UsersServer) -> AsyncIterator[Stubs]:
    """The stubs of the server with short limits."""
    async with hasty_server.aio_channel() as channel:
        yield Stubs.on(channel)


def create_request() -> pb.CreateUserRequest:
    """Return a request that touches four tables."""
    return pb.CreateUserRequest(
        email=f"{uuid.uuid4().hex}@example.com", password="correct horse", request_id=str(uuid.uuid4())
    )


@dataclass
class Killer:
    """Kills the connection of a transaction from another one, just before a statement that holds some text."""

    database: MySQLDatabase
    before: str = ""
    times: int = 0

    def __call__(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """Kill the connection if the statement is the one."""
        if self.times and self.before in statement:
            self.times -= 1
            in_own_thread(partial(query, self.database, f"KILL {number_of(connection)}"))

    async def before_compiled(self, target: Any, statement: str) -> None:
        """Do the same for a statement that goes to the driver past SQLAlchemy."""
        if self.times and self.before in statement:
            self.times -= 1
            in_own_thread(partial(query, self.database, f"KILL {number_of(target)}"))


@pytest.fixture
def killer(database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killer]:
    """Show every statement of the server to a killer, that does nothing until it is told to."""
    killer, carry_out = Killer(database), compiled._carry_out

    async def shown(connection: Any, target: Any, sql: str, parameters: Any) -> Any:
        await killer.before_compiled(target, sql)
        return await carry_out(connection, target, sql, parameters)

    monkeypatch.setattr(compiled, "_carry_out", shown)
    event.listen(Engine, "before_cursor_execute", killer)
    yield killer
    event.remove(Engine, "before_cursor_execute", killer)


def left(server: UsersServer, request: pb.CreateUserRequest) -> tuple[int, int, int]:
    """Count the users, accounts and remembered requests that a request has left."""
    users = "SELECT COUNT(*) FROM users WHERE email = %s"
    accounts = "SELECT COUNT(*) FROM accounts WHERE user_id IN (SELECT id FROM users WHERE email = %s)"
    keys = "SELECT COUNT(*) FROM idempotency_keys WHERE request_id = %s"
    rows = [server.rows(users, request.email), server.rows(accounts, request.email)]
    return rows[0][0][0], rows[1][0][0], server.rows(keys, request.request_id)[0][0]


@pytest.mark.parametrize("statement", CREATES)
async def test_a_transaction_killed_once_is_done_whole(
    users: Stubs, users_server: UsersServer, killer: Killer, statement: str
) -> None:
    """A connection that dies between two statements costs the caller nothing: the transaction runs again, once."""
    killer.before, killer.times = statement, 1
    request = create_request()
    created = await users.users.CreateUser(request)
    assert killer.times == 0
    assert left(users_server, request) == (1, 1, 1)
    assert (await users.users.CreateUser(request)) == created


@pytest.mark.parametrize("statement", CREATES)
async def test_a_transaction_killed_again_and_again_leaves_nothing(
    users: Stubs, users_server: UsersServer, killer: Killer, statement: str
) -> None:
    """Where every attempt dies, the caller may repeat, and nothing is half done."""
    killer.before, killer.times = statement, users_database.RETRIES
    request = create_request()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CreateUser(request)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(caught.value) == "DATABASE_UNAVAILABLE"
    assert retry_seconds(caught.value)
    assert left(users_server, request) == (0, 0, 0)
    await users.users.CreateUser(request)
    assert left(users_server, request) == (1, 1, 1)


@pytest.mark.parametrize("statement", DELETES)
async def test_a_deletion_that_dies_deletes_nothing(
    users: Stubs, users_server: UsersServer, killer: Killer, statement: str
) -> None:
    """Between any two statements of DeleteUser: all rows stay, and no word goes to the other service."""
    request = create_request()
    user = (await users.users.CreateUser(request)).user
    # Only what is there is deleted.
    await verification(users, SIGN_IN, user.email)
    killer.before, killer.times = statement, users_database.RETRIES
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id))
    assert killer.times == 0
    assert reason(caught.value) == "DATABASE_UNAVAILABLE"
    assert left(users_server, request) == (1, 1, 1)
    assert users_server.rows("SELECT COUNT(*) FROM outbox WHERE payload LIKE %s", f"%{user.id}%") == [(0,)]


@pytest.mark.parametrize("statement", DISABLES)
async def test_a_disabling_that_dies_disables_nobody(
    users: Stubs, users_server: UsersServer, killer: Killer, statement: str
) -> None:
    """Between any two statements of DisableUser: everything stays as it was; made again, it is done whole."""
    user = (await users.users.CreateUser(create_request())).user
    token, created = await new_session(users, user.id), await verification(users, SIGN_IN, user.email)
    events = "SELECT kind FROM user_events WHERE user_id = %s AND kind = 'disabled'"
    killer.before, killer.times = statement, users_database.RETRIES
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.DisableUser(pb.DisableUserRequest(id=user.id))
    assert killer.times == 0
    assert reason(caught.value) == "DATABASE_UNAVAILABLE"
    assert (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == user
    assert await session_is_valid(users, token)
    assert users_server.rows(events, user.id) == []
    kept = "SELECT COUNT(*) FROM verifications WHERE id = %s"
    assert users_server.rows(kept, created.verification.id) == [(1,)]
    # Once more a connection dies, and the transaction runs again by itself.
    killer.times = 1
    answer = await users.users.DisableUser(pb.DisableUserRequest(id=user.id))
    assert killer.times == 0
    assert (answer.revoked_sessions, answer.user.etag) == (1, '"2"')
    assert not await session_is_valid(users, token)
    assert users_server.rows(events, user.id) == [("disabled",)]
    assert users_server.rows(kept, created.verification.id) == [(0,)]


async def healthy(server: UsersServer) -> bool:
    """Ask for the health of the whole server."""
    async with server.aio_channel() as channel:
        check: Any = health_pb2_grpc.HealthStub(channel)
        response = await check.Check(health_pb2.HealthCheckRequest())
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def until_health_is(server: UsersServer, wanted: bool) -> None:
    """Wait until the server says that it is healthy, or is not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await healthy(server) is not wanted:  # noqa: ASYNC110 - the server is another one's loop
            await asyncio.sleep(0.05)


@asynccontextmanager
async def database_away(proxy: Proxy, server: UsersServer) -> AsyncIterator[None]:
    """Take MySQL away from the server, and give it back."""
    proxy.cut()
    try:
        yield
    finally:
        proxy.restore()
        await until_health_is(server, wanted=True)


async def test_without_its_database_the_server_says_so_and_comes_back(
    users: Stubs, users_server: UsersServer, proxy: Proxy
) -> None:
    """Reads and writes answer UNAVAILABLE with a delay, health says NOT_SERVING, and both recover by themselves."""
    user = (await users.users.CreateUser(create_request())).user
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "read": lambda: users.users.GetUser(pb.GetUserRequest(id=user.id)),
        "list": lambda: users.users.ListUsers(pb.ListUsersRequest()),
        "write": lambda: users.users.CreateUser(create_request()),
    }
    async with database_away(proxy, users_server):
        for call in calls.values():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason(caught.value) == "DATABASE_UNAVAILABLE"
            assert retry_seconds(caught.value)
        await until_health_is(users_server, wanted=False)
    for call in calls.values():
        await call()


@pytest.mark.long
async def test_a_server_waits_for_its_schema(mysql_empty_database: MySQLDatabase) -> None:
    """On a database that was not migrated, health says NOT_SERVING and calls UNAVAILABLE, until it is."""
    starting = users_service(mysql_empty_database)
    served = await asyncio.to_thread(starting.__enter__)
    try:
        assert not await healthy(served)
        async with served.aio_channel() as channel:
            stubs = Stubs.on(channel)
            for call in (
                stubs.users.GetUser(pb.GetUserRequest(id="nobody")),
                stubs.users.ListUsers(pb.ListUsersRequest()),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert reason(caught.value) == "DATABASE_UNAVAILABLE"
            await runner.up(served.settings, "head", lambda _line: None)
            await until_health_is(served, wanted=True)
            await stubs.users.CreateUser(create_request())
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_the_database_gives_up_what_nobody_waits_for(users_server: UsersServer) -> None:
    """A statement whose caller has timed out does not go on for ever on the server."""
    async with Database(users_server.settings) as limited, limited.connection() as connection:
        names = ("max_statement_time", "max_execution_time")
        found = await connection.execute(text(f"SHOW VARIABLES WHERE Variable_name IN {names}"))
        limits = [float(value) for _, value in found]
    assert sum(limits) > 0
    assert max(limits) in {users_server.settings.mysql_query_timeout_ms / scale + 1_000 / scale for scale in (1, 1_000)}


async def test_a_server_that_starts_before_its_database_serves_when_it_comes(
    database: MySQLDatabase, users_server: UsersServer, proxy: Proxy
) -> None:
    """The order in which a machine's processes come up does not matter."""
    async with database_away(proxy, users_server):
        starting = users_service(replace(database, host=LOOPBACK, port=proxy.listens), health_timeout_ms=300)
        served = await asyncio.to_thread(starting.__enter__)
        assert not await healthy(served)
    try:
        await until_health_is(served, wanted=True)
        async with served.aio_channel() as channel:
            await Stubs.on(channel).users.CreateUser(create_request())
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest.mark.long
async def test_a_hanging_database_holds_nobody_up_for_long(
    users: Stubs, hasty: Stubs, hasty_server: UsersServer, proxy: Proxy
) -> None:
    """A server that accepts and never answers is as good as none: calls end within the query timeout."""
    user = (await users.users.CreateUser(create_request())).user
    proxy.freeze()
    try:
        # Whoever has more time than that is not kept to the end of it, which would be DEADLINE_EXCEEDED.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hasty.users.GetUser(pb.GetUserRequest(id=user.id), timeout=PATIENCE_SECONDS)
        assert reason(caught.value) == "DATABASE_UNAVAILABLE"
        await until_health_is(hasty_server, wanted=False)
    finally:
        proxy.thaw()
    await until_health_is(hasty_server, wanted=True)
    assert (await hasty.users.GetUser(pb.GetUserRequest(id=user.id))).user == user


@pytest.mark.long
async def test_a_full_pool_refuses_instead_of_queueing_for_ever(
    users: Stubs, hasty: Stubs, users_server: UsersServer
) -> None:
    """With every connection waiting for a lock, further calls are told that it is our limit; afterwards all is well."""
    users_server.rows("INSERT IGNORE INTO users (id, email, email_normalized) VALUES ('user_held', 'h@x.yy', 'h@x.yy')")
    held = "SELECT * FROM users WHERE id = 'user_held' FOR UPDATE"
    request = pb.DeleteUserRequest(id="user_held", etag='"99"')
    with users_server.holding(held):
        calls = [hasty.users.DeleteUser(request) for _ in range(40)]
        told = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in told if isinstance(each, grpc.aio.AioRpcError)]
    reasons = [reason(each) for each in errors]
    assert len(reasons) == 40
    # Those that had a connection: the service gave up waiting for the row, or the server before it did.
    assert set(reasons) - {"DATABASE_UNAVAILABLE", "CONFLICT_RETRY"} == {"OVERLOADED"}
    assert {each.code() for each in errors if reason(each) == "OVERLOADED"} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.DeleteUser(request)
    assert reason(caught.value) == "ETAG_MISMATCH"


@pytest.mark.long
async def test_a_storm_of_cancelled_writes_leaves_whole_users_and_a_whole_pool(
    users: Stubs, users_server: UsersServer
) -> None:
    """Writes given up at any moment leave a user with its account, or neither; the pool loses no connection."""
    requests = [create_request() for _ in range(100)]

    async def give_up(request: pb.CreateUserRequest, seconds: float) -> None:
        call = users.users.CreateUser(request)
        await asyncio.sleep(seconds)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    await asyncio.gather(*(give_up(request, n * 0.004) for n, request in enumerate(requests)))
    # What was given up may go on for a while, and be half there to whoever counts meanwhile.
    whole = {(0, 0, 0), (1, 1, 1)}
    await until(lambda: {left(users_server, request) for request in requests} <= whole, "whole users")
    await asyncio.gather(*(users.users.CreateUser(create_request()) for _ in range(6)))


async def test_a_first_connection_that_is_lost_is_replaced(users_server: UsersServer) -> None:
    """SQLAlchemy asks a server about itself at the first connection; what fails there is told as what it is."""
    async with Database(users_server.settings) as opened:
        failures = [asyncmy.errors.OperationalError(2013, "Lost connection")]

        @event.listens_for(opened.engine.sync_engine, "do_execute")
        def fail(*_: Any) -> None:
            if failures:
                raise failures.pop()

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(text("SELECT 1"))).scalar_one())

        assert await opened.transaction(work) == 1
        assert not failures


async def test_a_rollback_that_nobody_waits_for_is_not_interrupted(users_server: UsersServer, proxy: Proxy) -> None:
    """Who gives up while the database rolls back, and again, leaves the connection whole for the next."""
    used = []
    frozen = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await CompiledStatement(text("SELECT COUNT(*) FROM users")).on(connection, {})
        used.append(number_of(connection))
        if len(used) == 1:
            proxy.freeze()
            frozen.set()
            raise LookupError

    async with Database(users_server.settings) as opened:
        call = asyncio.create_task(opened.transaction(work))
        await frozen.wait()
        await asyncio.sleep(0.01)
        for _ in range(2):
            call.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([call], timeout=PATIENCE_SECONDS)
        assert call.cancelled()
        proxy.thaw()
        await until(lambda: opened.pools()["transactions"].idle == 1, "the end of the rollback")
        await opened.transaction(work)
    assert len(set(used)) == 1
