"""Resuming: at every token the same rest, in every process, and a clear word where the rest is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack

import grpc
import pytest
from vibework.users.v1 import user_service_pb2 as pb

from chassis.keyring import Keyring
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS, Stubs, UsersServer, users_service
from tests.harness.watching_users import told_of, watching_users
from tests.integration.users.ways_to_sign_in import new_user
from users_service.watch.tokens import ResumeTokens

EXPIRED = (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED")
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")
TOKENS = ResumeTokens(Keyring.parse(SECRET_KEYS))


@pytest.fixture
def two_servers(mysql_database: MySQLDatabase) -> Iterator[list[UsersServer]]:
    """Two processes' servers on one database."""
    with ExitStack() as stack:
        yield [stack.enter_context(users_service(mysql_database)) for _ in range(2)]


@pytest.mark.long
async def test_every_token_leads_to_the_same_rest_in_every_process(two_servers: list[UsersServer]) -> None:
    """Of a heartbeat, of each event, of the last one; whichever server gave it, and whichever is asked."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(server.aio_channel()) for server in two_servers]
        stubs = [Stubs.on(channel) for channel in channels]
        first = await stack.enter_async_context(watching_users(stubs[0].users))
        tokens = [first.token]
        await asyncio.gather(*(new_user(stubs[number % 2]) for number in range(20)))
        told = await first.told(20)
        tokens += [event.resume_token for event in first.events]
        last = await new_user(stubs[1])
        whole = [*told, *await first.told(1)]
        assert whole[-1] == ("created", last.id, last.etag)
        for number, token in enumerate(tokens):
            async with watching_users(stubs[number % 2].users, resume_token=token) as again:
                assert await again.told(len(whole) - number) == whole[number:]
                # Nothing that was told comes again.
                made = await new_user(stubs[(number + 1) % 2])
                assert await again.until(made.id) == [("created", made.id, made.etag)]
                whole.append(("created", made.id, made.etag))


async def test_a_token_holds_across_restarts(mysql_database: MySQLDatabase) -> None:
    """What happened while no server looked is told by the next one."""
    with users_service(mysql_database) as server:
        async with server.aio_channel() as channel, watching_users(Stubs.on(channel).users) as watch:
            made = await new_user(Stubs.on(channel))
            assert await watch.told(1) == [("created", made.id, made.etag)]
            token = watch.token
            later = await new_user(Stubs.on(channel))
    with users_service(mysql_database) as server, users_service(mysql_database) as other:
        for each in (server, other):
            async with (
                each.aio_channel() as channel,
                watching_users(Stubs.on(channel).users, resume_token=token) as watch,
            ):
                assert await watch.told(1) == [("created", later.id, later.etag)]


@pytest.mark.long
async def test_a_long_history_is_told_whole(users: Stubs, users_server: UsersServer) -> None:
    """Longer than a part that is read at once, to many who ask at once, from different places."""
    async with watching_users(users.users) as watch:
        token = watch.token
    values = ", ".join(f"('user_{number:04}', 'changed', 1)" for number in range(1_000))
    users_server.rows(f"INSERT INTO user_events (user_id, kind, revision) VALUES {values}")
    async with watching_users(users.users, resume_token=token) as watch:
        assert [user for _, user, _ in await watch.told(1_000)] == [f"user_{number:04}" for number in range(1_000)]
        tokens = [event.resume_token for event in watch.events]
        expected = [told_of(event) for event in watch.events]

    async def rest(number: int) -> bool:
        async with watching_users(users.users, resume_token=tokens[number]) as again:
            return await again.told(999 - number) == expected[number + 1 :]

    assert all(await asyncio.gather(*(rest(number) for number in range(0, 1_000, 67))))


async def failure(users: Stubs, token: str) -> tuple[grpc.StatusCode, str]:
    """Watch with a token, and return how that ends."""
    async with watching_users(users.users, greeted=False, resume_token=token) as watch:
        return await watch.failure()


@pytest.mark.parametrize("token", ["x", "", "AAAA", "x" * 2_048])
async def test_what_is_no_token_is_refused(users: Stubs, token: str) -> None:
    """Whatever the text is; only none at all begins now."""
    if token:
        assert await failure(users, token) == INVALID
    else:
        async with watching_users(users.users, resume_token=token):
            pass


@pytest.fixture(scope="module")
def own_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server whose history the tests break, one after the other."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database) as served:
        yield served


async def _a_token_behind(server: UsersServer, events: int) -> tuple[str, list[str]]:
    """Return a token, and those of so many events that follow it."""
    async with server.aio_channel() as channel, watching_users(Stubs.on(channel).users) as watch:
        token = watch.token
        for _ in range(events):
            await new_user(Stubs.on(channel))
        await watch.told(events)
        return token, [event.resume_token for event in watch.events]


async def test_a_token_from_before_what_was_purged_is_expired(own_server: UsersServer) -> None:
    """That of the last event which is gone still leads on: nothing that follows it is missing."""
    token, (first, second, third) = await _a_token_behind(own_server, 3)
    gone = TOKENS.read(second).seq
    own_server.rows("UPDATE event_sequence SET purged = %s", gone)
    own_server.rows("DELETE FROM user_events WHERE seq <= %s", gone)
    async with own_server.aio_channel() as channel:
        users = Stubs.on(channel)
        assert [await failure(users, old) for old in (token, first)] == [EXPIRED] * 2
        for kept, expected in ((second, 2), (third, 1)):
            async with watching_users(users.users, resume_token=kept) as watch:
                made = await new_user(users)
                assert (await watch.until(made.id))[-1] == ("created", made.id, made.etag)
                assert len(watch.events) == expected + (kept == third)


async def test_a_token_of_events_that_were_lost_is_expired(own_server: UsersServer) -> None:
    """After a failover that lost some: whether their numbers are free or others have them, and who watches is told."""
    _, (first, second, third) = await _a_token_behind(own_server, 3)
    lost = TOKENS.read(second).seq
    async with own_server.aio_channel() as channel:
        users = Stubs.on(channel)
        async with watching_users(users.users) as watching:
            own_server.rows("DELETE FROM user_events WHERE seq >= %s", lost)
            assert await watching.failure() == EXPIRED
        assert [await failure(users, gone) for gone in (second, third)] == [EXPIRED] * 2
        async with watching_users(users.users, resume_token=first) as watch:
            made = [await new_user(users) for _ in range(2)]
            assert [user for _, user, _ in await watch.told(2)] == [user.id for user in made]
        # Other events have their numbers now.
        assert [await failure(users, gone) for gone in (second, third)] == [EXPIRED] * 2


async def test_a_gap_is_never_passed_over(own_server: UsersServer) -> None:
    """Should an event be missing, whoever is behind it lists anew and is told nothing wrong."""
    token, tokens = await _a_token_behind(own_server, 3)
    own_server.rows("DELETE FROM user_events WHERE seq = %s", TOKENS.read(tokens[1]).seq)
    async with own_server.aio_channel() as channel:
        users = Stubs.on(channel)
        assert [await failure(users, old) for old in (token, tokens[0], tokens[1])] == [EXPIRED] * 3
        async with watching_users(users.users, resume_token=tokens[2]) as watch:
            made = await new_user(users)
            assert await watch.told(1) == [("created", made.id, made.etag)]


async def test_a_token_of_another_history_is_expired(own_server: UsersServer) -> None:
    """As after a restore, which draws a new epoch; and where the row of the history was lost."""
    for break_ in ("UPDATE event_sequence SET epoch = UNHEX(REPLACE(UUID(), '-', ''))", "DELETE FROM event_sequence"):
        token, (last,) = await _a_token_behind(own_server, 1)
        async with own_server.aio_channel() as channel:
            users = Stubs.on(channel)
            async with watching_users(users.users) as watching:
                own_server.rows(break_)
                assert await watching.failure() == EXPIRED
            assert [await failure(users, old) for old in (token, last)] == [EXPIRED] * 2
            async with watching_users(users.users) as watch:
                made = (await users.users.CreateUser(pb.CreateUserRequest(email=f"{len(break_)}@a.example"))).user
                assert await watch.told(1) == [("created", made.id, made.etag)]
