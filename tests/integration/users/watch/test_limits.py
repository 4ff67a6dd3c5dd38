"""What a watch may cost: slow readers, bursts, too many watchers, a database that is away, the end of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from vibework.users.v1 import user_service_pb2 as pb

from tests.bench import http2
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.proxy import proxy_to
from tests.harness.statements import query
from tests.harness.users import Stubs, UsersServer, users_service
from tests.harness.watching_users import watching_users
from tests.integration.users.ways_to_sign_in import new_user, outcome
from tests.unit.chassis.raw_connection import WATCH_USERS, RawConnection, connected

TOO_SLOW = (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
TOO_MANY = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")
INTERRUPTED = (grpc.StatusCode.UNAVAILABLE, "WATCH_INTERRUPTED")
SHUTTING_DOWN = (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
RESOURCE_EXHAUSTED = "8"


@asynccontextmanager
async def stubs_of(server: UsersServer, *options: tuple[str, int]) -> AsyncIterator[Stubs]:
    """Open a connection to a server."""
    async with grpc.aio.insecure_channel(
        server.address, options=[("grpc.use_local_subchannel_pool", 1), *options]
    ) as channel:
        yield Stubs.on(channel)


async def insert(database: MySQLDatabase, first: int, count: int) -> None:
    """Write events past the service."""
    values = ", ".join(f"('user_{number:06}_{'x' * 200}', 'changed', 1)" for number in range(first, first + count))
    await query(database, f"INSERT INTO user_events (user_id, kind, revision) VALUES {values}")


def placed(server: UsersServer) -> int:
    """Return how many streams the server counts."""
    assert server.server is not None
    return int(server.server.in_flight.now["stream"])


@asynccontextmanager
async def reading_nothing(server: UsersServer, *, window: int = 0) -> AsyncIterator[RawConnection]:
    """Connect, and answer pings, but let the server send only ``window`` bytes on each stream."""
    async with connected(int(server.address.rpartition(":")[2]), pings=True, window=window) as connection:
        reading = asyncio.create_task(connection.closed())
        try:
            yield connection
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@pytest.mark.long
async def test_a_slow_reader_is_ended_and_resumes_where_it_was(mysql_database: MySQLDatabase) -> None:
    """Who takes nothing while more happens than is kept for it, is ended; its last token leads on without a gap."""
    hardly_buffering = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    with users_service(mysql_database, watch_queue_events=20, watch_patience_ms=200) as server:
        async with stubs_of(server, *hardly_buffering) as slow, stubs_of(server) as quick:
            async with watching_users(slow.users) as watch:
                for part in range(0, 4_000, 500):
                    await insert(mysql_database, part, 500)
                await until(lambda: placed(server) == 0, "the end of the watch")
                assert await watch.failure() == TOO_SLOW
            told = [event.user_event.user_id for event in watch.events]
            assert 0 < len(told) < 4_000
            async with watching_users(quick.users, resume_token=watch.token) as again:
                told += [user for _, user, _ in await again.told(4_000 - len(told))]
    assert told == [f"user_{number:06}_{'x' * 200}" for number in range(4_000)]


async def test_a_burst_does_not_end_a_watcher_that_reads(mysql_database: MySQLDatabase) -> None:
    """Far more at once than is kept for a watcher arrives in whole and in order, as long as it is taken."""
    with users_service(mysql_database, watch_queue_events=20) as server:
        async with stubs_of(server) as users, watching_users(users.users) as watch:
            await insert(mysql_database, 0, 3_000)
            told = [user for _, user, _ in await watch.told(3_000)]
            assert told == [f"user_{number:06}_{'x' * 200}" for number in range(3_000)]
            made = await new_user(users)
            assert await watch.told(1) == [("created", made.id, made.etag)]


async def test_more_watchers_than_allowed_are_refused(mysql_database: MySQLDatabase) -> None:
    """The one too many is told so; there is room again once one has left."""
    with users_service(mysql_database, watch_max_watchers=2) as server:
        async with stubs_of(server) as users, watching_users(users.users):
            async with watching_users(users.users), watching_users(users.users, greeted=False) as refused:
                assert await refused.failure() == TOO_MANY
            await until(lambda: placed(server) == 1, "the end of one watch")
            async with watching_users(users.users) as admitted:
                made = await new_user(users)
                assert await admitted.told(1) == [("created", made.id, made.etag)]


@pytest.mark.parametrize("window", [0, 100])
async def test_one_that_reads_nothing_is_ended_and_frees_its_place(mysql_database: MySQLDatabase, window: int) -> None:
    """Whether it takes the first event or none at all: others find room, and it learns how it ended when it reads."""
    with users_service(mysql_database, watch_max_watchers=1, watch_untaken_ms=300, grpc_max_streams=1) as server:
        async with reading_nothing(server, window=window) as connection, stubs_of(server) as users:
            stream = connection.call(WATCH_USERS, message=pb.WatchUsersRequest().SerializeToString())
            await until(lambda: placed(server) == 1, "the watch")
            await new_user(users)
            await until(lambda: placed(server) == 0, "the end of the watch")
            async with watching_users(users.users) as watch:
                made = await new_user(users)
                assert await watch.told(1) == [("created", made.id, made.etag)]
            connection.send(http2.window_update(stream, http2.DEFAULT_WINDOW))
            await until(lambda: "ended" in connection.answered(stream), "the answer")
            assert connection.answered(stream)["grpc-status"] == RESOURCE_EXHAUSTED


async def test_a_drain_ends_watches_at_once(mysql_database: MySQLDatabase) -> None:
    """They do not hold up the end of the server, nor does one that reads nothing: the grace is an hour here."""
    with users_service(mysql_database, grpc_grace_ms=3_600_000) as server:
        async with AsyncExitStack() as stack:
            users = await stack.enter_async_context(stubs_of(server))
            watches = [await stack.enter_async_context(watching_users(users.users)) for _ in range(10)]
            connection = await stack.enter_async_context(reading_nothing(server))
            connection.call(WATCH_USERS, message=pb.WatchUsersRequest().SerializeToString())
            await until(lambda: placed(server) == 11, "the watches")
            assert server.server is not None
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.to_thread(server.run, server.server.stop())
            assert {await watch.failure() for watch in watches} == {SHUTTING_DOWN}


@pytest.mark.long
async def test_watches_outlive_a_database_that_is_away_for_a_while(mysql_database: MySQLDatabase) -> None:
    """Open watches go on by themselves, also from where the connections hang, and miss nothing."""
    with proxy_to(mysql_database.host, mysql_database.port) as proxy:
        behind = replace(mysql_database, host="127.0.0.1", port=proxy.listens)
        with users_service(behind, watch_poll_ms=50, mysql_query_timeout_ms=500) as server:
            async with stubs_of(server) as users, watching_users(users.users) as watch:
                number = 0
                for take, give in ((proxy.cut, proxy.restore), (proxy.freeze, proxy.thaw)):
                    for away in (False, True):
                        if away:
                            await asyncio.to_thread(take)
                        await insert(mysql_database, number, 10)
                        number += 10
                        await asyncio.sleep(0.5)
                        if away:
                            await asyncio.to_thread(give)
                told = [user for _, user, _ in await watch.told(number)]
                assert told == [f"user_{each:06}_{'x' * 200}" for each in range(number)]


@pytest.mark.long
async def test_a_database_that_is_away_for_long_ends_watches(mysql_database: MySQLDatabase) -> None:
    """They are told to try elsewhere; new ones, that the database is away; the last token leads on afterwards."""
    with proxy_to(mysql_database.host, mysql_database.port) as proxy:
        behind = replace(mysql_database, host="127.0.0.1", port=proxy.listens)
        with users_service(behind, watch_poll_ms=50, watch_outage_ms=300, mysql_query_timeout_ms=500) as server:
            async with stubs_of(server) as users, watching_users(users.users) as watch:
                await insert(mysql_database, 0, 1)
                assert len(await watch.told(1)) == 1
                await asyncio.to_thread(proxy.cut)
                await insert(mysql_database, 1, 1)
                assert await watch.failure() == INTERRUPTED
                assert await outcome(users.users.WatchUsers(pb.WatchUsersRequest()).read()) == "DATABASE_UNAVAILABLE"
                await asyncio.to_thread(proxy.restore)
                again = ""
                while again != "told":
                    # The server may not have found its database yet.
                    with suppress(grpc.aio.AioRpcError):
                        async with watching_users(users.users, resume_token=watch.token) as resumed:
                            ((_, user, _),) = await resumed.told(1)
                            assert user.startswith("user_000001")
                            again = "told"


async def test_watches_that_were_cancelled_leave_nothing(mysql_database: MySQLDatabase) -> None:
    """However a watch starts and whenever its caller goes, its place becomes free again, and no error is logged."""
    with capture_logs() as told, users_service(mysql_database, watch_max_watchers=20) as server:
        async with stubs_of(server) as users:
            async with watching_users(users.users) as watch:
                token = watch.token
            for number in range(10):
                await new_user(users)
                async with AsyncExitStack() as stack:
                    for index in range(20):
                        start = {"resume_token": token} if (number + index) % 2 else {}
                        await stack.enter_async_context(watching_users(users.users, greeted=False, **start))
                    await asyncio.sleep(0.002 * number)
            await until(lambda: placed(server) == 0, "the end of all watches")
            async with AsyncExitStack() as stack:
                for _ in range(20):
                    watch = await stack.enter_async_context(watching_users(users.users))
                made = await new_user(users)
                assert await watch.told(1) == [("created", made.id, made.etag)]
    assert [line for line in told if line["log_level"] == "error"] == []


async def test_a_watcher_hears_of_other_processes_by_the_poll_alone(mysql_database: MySQLDatabase) -> None:
    """Nobody wakes it: what another process commits is found by looking."""
    with users_service(mysql_database, watch_poll_ms=20) as server:
        interval = Duration(seconds=300)
        async with stubs_of(server) as users, watching_users(users.users, heartbeat_interval=interval) as watch:
            for number in range(3):
                await insert(mysql_database, number, 1)
                assert [user[:11] for _, user, _ in await watch.told(1)] == [f"user_{number:06}"]
