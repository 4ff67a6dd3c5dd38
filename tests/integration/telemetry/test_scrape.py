"""What Prometheus reads of both services, as they run in production."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import users_service
from tests.integration.telemetry.conftest import Measured, load
from tests.integration.telemetry.scraping import metrics_port, parsed, request, scrape, until


async def test_calls_are_counted_by_method_and_status(measured: Measured) -> None:
    """Rates, error shares and latencies of every method come from these two metrics."""
    service = "vibework.users.v1.UserService"
    before = await scrape(measured.users_port)
    await load(measured)
    after = await scrape(measured.users_port)
    failed = {"grpc_service": service, "grpc_method": "GetUser", "grpc_code": "NOT_FOUND"}
    already = 0.0
    if ("grpc_server_handled_total", frozenset(failed.items())) in before.samples:
        already = before.value("grpc_server_handled_total", **failed)
    assert after.value("grpc_server_handled_total", **failed) == already + 1
    assert after.value("grpc_server_handling_seconds_count", **failed) == already + 1
    assert after.value("grpc_server_handling_seconds_bucket", le="+Inf", **failed) == already + 1
    assert 0 < after.value("grpc_server_handling_seconds_sum", **failed) < 60
    assert after.value("vibework_errors_total", reason="USER_NOT_FOUND") >= already + 1
    assert after.types["grpc_server_handled"] == "counter"
    assert after.types["grpc_server_handling_seconds"] == "histogram"


async def test_the_buckets_of_a_histogram_add_up(measured: Measured) -> None:
    """Quantiles are computed from buckets that count what lies below their bound."""
    await load(measured)
    found = await scrape(measured.notifications_port)
    name = "grpc_server_handling_seconds_bucket"
    labels = {"grpc_method": "CreateNotification", "grpc_code": "OK"}
    bounds = ("0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
    counts = [found.value(name, le=bound, **labels) for bound in bounds]
    assert counts == sorted(counts)
    assert counts[-1] == found.value("grpc_server_handled_total", **labels)


async def test_the_pools_of_every_driver_tell_what_is_in_use(measured: Measured) -> None:
    """Somebody on call sees which pool is at its limit, and who waits for it."""
    await load(measured)
    users = await scrape(measured.users_port)
    for pool in ("transactions", "reads", "points"):
        size, limit = (users.value(f"vibework_pool_{name}", driver="mysql", pool=pool) for name in ("size", "limit"))
        assert 1 <= size <= limit
        assert users.value("vibework_pool_waiting", pool=pool) == 0
        assert users.value("vibework_pool_timeouts_total", pool=pool) == 0
    notifications = await scrape(measured.notifications_port)
    # Of ten the driver has two to watch the server.
    assert notifications.value("vibework_pool_limit", pool="calls") == 7
    assert notifications.value("vibework_pool_limit", pool="watches") == 1
    assert 1 <= notifications.value("vibework_pool_size", pool="calls") <= 7
    assert notifications.value("vibework_pool_waiting", pool="calls") == 0


async def test_a_lent_connection_shows_and_so_do_those_who_wait_for_it(measured: Measured) -> None:
    """The pools are seen from outside while they are exhausted, which is when it matters."""
    server = measured.users
    pool, own = server.settings.mysql_pool_max_connections, {"pool": "transactions"}
    await load(measured)
    user_id = server.rows("SELECT id FROM users LIMIT 1")[0][0]
    with server.holding("SELECT * FROM users FOR UPDATE"):
        async with server.aio_channel() as channel:
            from vibework.users.v1 import user_service_pb2

            from tests.harness.users import Stubs

            stubs = Stubs.on(channel)
            calls = [stubs.users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user_id)) for _ in range(pool + 5)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            limit = (await scrape(measured.users_port)).value("vibework_pool_limit", **own)
            found = await until(
                measured.users_port,
                lambda now: (
                    now.value("vibework_pool_in_use", **own) == limit and now.value("vibework_pool_waiting", **own) > 0
                ),
            )
            assert found.value("grpc_server_in_flight", kind="unary") >= limit + 1
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_watches_are_counted_and_their_stream_is_not_behind(measured: Measured) -> None:
    """The number of watchers follows them, and the lag is that of a stream at its end."""
    assert (await scrape(measured.notifications_port)).value("vibework_watchers") == 0
    user_id = await load(measured)
    watch = measured.notifications.feed.WatchNotifications(
        notification_service_pb2.WatchNotificationsRequest(user_id=user_id)
    )
    await watch.read()
    found = await scrape(measured.notifications_port)
    assert found.value("vibework_watchers") == 1
    assert found.value("grpc_server_in_flight", kind="stream") == 1
    assert 0 <= found.value("vibework_watch_stream_lag_seconds") < 5
    watch.cancel()
    await until(measured.notifications_port, lambda now: now.value("vibework_watchers") == 0)


async def test_the_outbox_shows_what_waits_and_since_when(measured: Measured) -> None:
    """Nobody answers on the other side, so what is left behind grows old in sight."""
    user_id = await load(measured)
    before = (await scrape(measured.users_port)).value("vibework_outbox_entries")
    async with measured.users.aio_channel() as channel:
        from vibework.users.v1 import user_service_pb2

        from tests.harness.users import Stubs

        await Stubs.on(channel).users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user_id))
    found = await scrape(measured.users_port)
    assert found.value("vibework_outbox_entries") == before + 2
    assert 0 <= found.value("vibework_outbox_oldest_seconds") < 120


async def test_state_and_build_are_told(measured: Measured) -> None:
    """A scrape says what runs, whether it serves, and what the process takes."""
    for port, service in ((measured.users_port, "users"), (measured.notifications_port, "notifications")):
        found = await scrape(port)
        assert found.value("vibework_build_info", service=f"{service}-service") == 1
        assert found.value("vibework_serving") == 1
        assert found.value("process_resident_memory_bytes") > 10_000_000
        assert found.value("process_open_fds") > 5
    assert (await scrape(measured.users_port)).value("vibework_hashing_threads") >= 1
    assert (await scrape(measured.notifications_port)).value("vibework_peer_circuit_open", peer="users-service") == 0


async def test_refused_calls_are_told_apart_from_other_errors(measured: Measured) -> None:
    """Calls that were shed mean more machines, other errors do not."""
    port, metrics = metrics_port()
    with users_service(measured.users.database, None, grpc_max_in_flight=1, **metrics) as served:
        with served.holding("SELECT * FROM users FOR UPDATE"):
            async with served.aio_channel() as channel:
                from vibework.users.v1 import user_service_pb2

                from tests.harness.users import Stubs

                stubs = Stubs.on(channel)
                create = user_service_pb2.CreateUserRequest(email="shed@example.com")
                first = asyncio.ensure_future(stubs.users.CreateUser(create, timeout=PATIENCE_SECONDS))
                await until(port, lambda now: now.value("grpc_server_in_flight", kind="unary") == 1)
                with pytest.raises(grpc.aio.AioRpcError):
                    await stubs.users.ListUsers(user_service_pb2.ListUsersRequest())
        found = await scrape(port)
        assert found.value("vibework_calls_shed_total", reason="OVERLOADED") == 1
        assert found.value("grpc_server_in_flight_limit", kind="unary") == 1
        first.cancel()


@pytest.mark.parametrize(("target", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405)])
async def test_nothing_else_is_served(measured: Measured, target: str, method: str, status: int) -> None:
    """The port is for metrics, and says so to whoever asks for something else."""
    assert (await request(measured.users_port, target, method))[0] == status


async def test_nonsense_harms_nobody(measured: Measured) -> None:
    """Whoever sends no request, or an endless one, is cut off; the next scrape is answered."""
    for nonsense in (b"\x16\x03\x01\x02\x00", b"GET /metrics HTTP/1.1\r\n" + b"x" * 100_000):
        _, writer = await asyncio.open_connection(LOOPBACK, measured.users_port)
        writer.write(nonsense)
        writer.close()
    assert (await scrape(measured.users_port)).value("vibework_serving") == 1


async def test_metrics_come_without_a_database(measured: Measured) -> None:
    """While the database is away everything else is still told, within the patience of a scrape."""
    port, metrics = metrics_port()
    database = measured.users.database
    nobody = f"{LOOPBACK}:{free_port()}"
    with users_service(database, None, mysql_port=free_port(), notifications_address=nobody, **metrics):
        found = parsed((await request(port))[2])
    assert found.value("vibework_serving") == 0
    assert "vibework_outbox_entries" not in found.names
    assert found.value("vibework_pool_limit", pool="transactions") > 0
