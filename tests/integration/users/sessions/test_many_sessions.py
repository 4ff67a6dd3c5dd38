"""Users with more sessions than one call has time to end: exact numbers, and the next call goes on."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from chassis.errors import DatabaseUnavailable
from tests.harness import early_batches
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import Stubs, UsersServer, reason
from users_service.sessions import repository, revocation

Fill = Callable[..., Awaitable[None]]
SESSIONS = 95
MANY = 100_000
# The deadline of a caller whose sessions take longer.
CALL_SECONDS = 6
# Several are of one moment.
FILL = """
INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, absolute_expires_at, extended_at, last_seen_at)
WITH RECURSIVE tens AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM tens WHERE n < 9),
  numbers AS (SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n + 100000 * f.n AS n
              FROM tens a, tens b, tens c, tens d, tens e, tens f)
SELECT CONCAT('sess_', %s, '_', n), %s, UNHEX(SHA2(CONCAT(%s, n), 256)), NOW(6) - INTERVAL n DIV 7 MICROSECOND,
  NOW(6) + INTERVAL 7 DAY, NOW(6) + INTERVAL 30 DAY, NOW(6), NOW(6)
FROM numbers WHERE n < %s
"""


@pytest.fixture
async def user_id(users: Stubs) -> str:
    """A user."""
    request = user_service_pb2.CreateUserRequest(email=f"{uuid.uuid4().hex}@example.com")
    return (await users.users.CreateUser(request)).user.id


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches be small."""
    monkeypatch.setattr(revocation, "BATCH", 10)


# Of a vtgate, which plans no such statement and finds the shard of each value before it sends it.
ROW = "('{id}', '{user}', X'{hash}', NOW(6) - INTERVAL {n} DIV 7 MICROSECOND, {ends})"
ENDS = "NOW(6) + INTERVAL 7 DAY, NOW(6) + INTERVAL 30 DAY, NOW(6), NOW(6)"
AT_ONCE = 500


@pytest.fixture
def fill(users_server: UsersServer, mysql_server: MySQLServer, user_id: str) -> Fill:
    """Store live sessions of the user."""

    def row(number: int) -> str:
        hashed = hashlib.sha256(f"{user_id}{number}".encode()).hexdigest()
        return ROW.format(id=f"sess_{user_id}_{number}", user=user_id, hash=hashed, n=number, ends=ENDS)

    def store(number: int) -> None:
        if not mysql_server.keyspaces:
            users_server.rows(FILL, user_id, user_id, user_id, number)
            return
        insert = FILL.partition("WITH")[0]
        for first in range(0, number, AT_ONCE):
            of_these = ", ".join(map(row, range(first, min(number, first + AT_ONCE))))
            run_mysql(mysql_server, [f"{insert} VALUES {of_these}"], database=users_server.database.name)

    async def carry_out(number: int = SESSIONS) -> None:
        await asyncio.to_thread(store, number)

    return carry_out


async def live(server: UsersServer, user_id: str) -> int:
    """Count the live sessions of the user."""
    statement = "SELECT COUNT(*) FROM sessions WHERE user_id = %s AND revoked_at IS NULL"
    found = await asyncio.to_thread(server.rows, statement, user_id)
    return int(found[0][0])


@pytest.mark.usefixtures("small_batches")
async def test_all_but_the_callers_own_end_exactly_once(
    users: Stubs, users_server: UsersServer, user_id: str, fill: Fill
) -> None:
    """Whatever the batches: each is counted by one of the calls that race, and the session kept is in none of them."""
    await fill()
    token = (await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user_id))).session_token
    request = pb.RevokeOtherSessionsRequest(session_token=token)
    done = await asyncio.gather(*(users.sessions.RevokeOtherSessions(request) for _ in range(8)))
    assert sum(answer.revoked_count for answer in done) == SESSIONS
    assert not any(answer.incomplete for answer in done)
    assert await live(users_server, user_id) == 1
    everything = await users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=user_id))
    assert (everything.revoked_count, everything.incomplete) == (1, False)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.long
async def test_whatever_ends_a_call_early_it_says_what_was_done(
    users: Stubs, users_server: UsersServer, user_id: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that fails, or lasts longer than the call may, does not hide what was done; the next call goes on."""
    await fill()
    revoke, begun = repository.revoke_next, 0

    async def failing(connection: AsyncConnection, **options: Any) -> Any:
        nonlocal begun
        begun += 1
        if begun == 4:
            raise DatabaseUnavailable
        if begun == 8:
            await asyncio.sleep(60)
        return await revoke(connection, **options)

    monkeypatch.setattr(repository, "revoke_next", failing)
    request = pb.RevokeAllSessionsRequest(user_id=user_id)
    for left in (SESSIONS - 30, SESSIONS - 60):
        done = await users.sessions.RevokeAllSessions(request, timeout=CALL_SECONDS)
        assert (done.revoked_count, done.incomplete) == (30, True)
        assert await live(users_server, user_id) == left
    done = await users.sessions.RevokeAllSessions(request, timeout=PATIENCE_SECONDS)
    assert (done.revoked_count, done.incomplete) == (SESSIONS - 60, False)


async def test_a_database_that_is_away_is_told(users: Stubs, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was done, the error is the answer."""

    async def away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable

    monkeypatch.setattr(repository, "revoke_next", away)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=user_id))
    assert reason(caught.value) == "DATABASE_UNAVAILABLE"


@pytest.mark.usefixtures("small_batches")
async def test_sessions_whose_time_cannot_be_read_end_as_well(
    users: Stubs, users_server: UsersServer, user_id: str, fill: Fill
) -> None:
    """Behind an impossible time there is no place to go on from: no live session stays for that."""
    await fill()
    broken = f"UPDATE sessions SET created_at = '0000-00-00' WHERE user_id = '{user_id}' AND id LIKE '%5'"
    at = users_server.database
    server = MySQLServer(at.host, at.port, at.user, at.password)
    await asyncio.to_thread(run_mysql, server, ["SET sql_mode = ''", broken], database=at.name)
    done = await users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=user_id))
    assert (done.revoked_count, done.incomplete) == (SESSIONS, False)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_100_000_end_call_by_call(
    users: Stubs, users_server: UsersServer, user_id: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one statement may not end within the query timeout: no call fails, and the numbers add up."""
    await fill(MANY)
    early, request = early_batches.noted(monkeypatch), pb.RevokeAllSessionsRequest(user_id=user_id)
    total, incomplete = 0, True
    while incomplete:
        done = await early_batches.answer_of(users.sessions.RevokeAllSessions, request, CALL_SECONDS, early)
        total, incomplete = total + done.revoked_count, done.incomplete
    assert MANY - len(early) * revocation.BATCH <= total <= MANY
    assert await live(users_server, user_id) == 0
