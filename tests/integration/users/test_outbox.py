"""The outbox: what a committed deletion left to be done is done, whoever is down or dies meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from vibework.notifications.v1 import notification_pb2, notification_service_pb2
from vibework.testing.local.ports import free_port
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.clocks import FrozenClock, VirtualClock
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import threaded_notifications
from tests.harness.patience import wait_for
from tests.harness.users import BlockingStubs, UsersServer, settings_for, users_service
from users_service.mysql.database import Database
from users_service.outbox import relay as relaying
from users_service.outbox import repository
from users_service.outbox.model import OutboxEntry
from users_service.outbox.relay import Relay
from users_service.users.deletion import SECOND_DELETION

POLL = timedelta(milliseconds=50)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    wait_for(holds, "what the relay does")


def waiting(server: UsersServer) -> int:
    """Count the entries in the outbox."""
    return int(server.rows("SELECT COUNT(*) FROM outbox")[0][0])


def test_notifications_go_with_their_user_though_their_service_is_down(
    mysql_database: MySQLDatabase, mongodb_database: MongoDatabase
) -> None:
    """Deleted while the other service is away: its notifications go when it is back, and a late one a little later."""
    port, clock, user_id = free_port(), VirtualClock(), ""

    def notify(feed: Any) -> None:
        in_app = notification_pb2.NOTIFICATION_TYPE_IN_APP
        content = notification_pb2.NotificationContent(title="t", message="m", type=in_app)
        feed.CreateNotification(notification_service_pb2.CreateNotificationRequest(user_id=user_id, content=content))

    def kept(feed: Any) -> int:
        response = feed.ListNotifications(notification_service_pb2.ListNotificationsRequest(user_id=user_id))
        return len(response.notifications)

    address = f"127.0.0.1:{port}"
    with users_service(mysql_database, clock, notifications_address=address, outbox_poll_ms=50) as server:
        with server.channel() as channel:
            users = BlockingStubs.on(channel).users
            user_id = users.CreateUser(pb.CreateUserRequest(email="a@example.com")).user.id
            with threaded_notifications(mongodb_database, grpc_port=port) as feed:
                notify(feed)
                notify(feed)
                assert kept(feed) == 2
            users.DeleteUser(pb.DeleteUserRequest(id=user_id))
        until(lambda: server.rows("SELECT MAX(attempts) FROM outbox") >= [(1,)])
        assert waiting(server) == 2
        with threaded_notifications(mongodb_database, grpc_port=port) as feed:
            assert kept(feed) == 2
            until(lambda: kept(feed) == 0)
            until(lambda: waiting(server) == 1)
            notify(feed)
            clock.advance(SECOND_DELETION)
            until(lambda: kept(feed) == 0 and waiting(server) == 0)


def test_a_deletion_wakes_the_relay(mysql_database: MySQLDatabase, mongodb_database: MongoDatabase) -> None:
    """Nobody waits for the next poll: the call is made right after the commit."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with (
        threaded_notifications(mongodb_database, grpc_port=port),
        users_service(mysql_database, notifications_address=address, outbox_poll_ms=60_000) as server,
        server.channel() as channel,
    ):
        users = BlockingStubs.on(channel).users
        user_id = users.CreateUser(pb.CreateUserRequest(email="a@example.com")).user.id
        users.DeleteUser(pb.DeleteUserRequest(id=user_id))
        until(lambda: waiting(server) == 1)


@pytest_asyncio.fixture
async def database(mysql_database: MySQLDatabase) -> AsyncIterator[Database]:
    """The service's access to a database."""
    opened = Database(settings_for(mysql_database))
    await opened.open()
    yield opened
    await opened.close()


async def put(database: Database, clock: FrozenClock, number: int) -> None:
    """Leave calls to be made."""

    async def work(connection: Any) -> None:
        for n in range(number):
            await repository.put(connection, "test", {"n": str(n)}, clock(), available_at=clock())

    await database.transaction(work)


async def entries(database: Database) -> list[Any]:
    """Return what is in the outbox."""
    async with database.connection() as connection:
        return list((await connection.exec_driver_sql("SELECT * FROM outbox ORDER BY id")).all())


async def test_relays_share_the_work_and_none_does_it_twice(database: Database) -> None:
    """Three relays at once: every call is made, and made once, since leases keep the others off."""
    clock, made = FrozenClock(), Counter[str]()

    async def handle(entry: OutboxEntry) -> None:
        made[entry.payload["n"]] += 1
        await asyncio.sleep(0.005)

    await put(database, clock, 150)
    relays = [Relay(database, {"test": handle}, clock, poll=POLL) for _ in range(3)]
    await asyncio.gather(*(relay.drain() for relay in relays))
    assert made == Counter(str(n) for n in range(150))
    assert await entries(database) == []


async def test_a_relay_that_dies_leaves_its_entry_to_the_next(database: Database) -> None:
    """An entry whose holder ended in the middle is taken again when the lease is over, not before."""
    clock, made = FrozenClock(), list[str]()

    async def hang(_: OutboxEntry) -> None:
        await asyncio.sleep(60)

    async def handle(entry: OutboxEntry) -> None:
        made.append(entry.payload["n"])

    await put(database, clock, 1)
    dying = asyncio.create_task(Relay(database, {"test": hang}, clock, poll=POLL).drain())
    while not (await entries(database))[0].attempts:  # noqa: ASYNC110 - the task is in the middle of its call
        await asyncio.sleep(0.02)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    living = Relay(database, {"test": handle}, clock, poll=POLL)
    await living.drain()
    assert made == []
    clock.advance(relaying.LEASE)
    await living.drain()
    assert made == ["0"]
    assert await entries(database) == []


async def test_a_failing_call_is_tried_for_ever_ever_less_often(database: Database) -> None:
    """Pauses double up to five minutes, and no failure, however often, loses the entry."""
    clock, pauses = FrozenClock(), list[float]()

    async def fail(_: OutboxEntry) -> None:
        raise RuntimeError("no")

    await put(database, clock, 1)
    relay = Relay(database, {"test": fail}, clock, poll=POLL)
    for _ in range(20):
        await relay.drain()
        (entry,) = await entries(database)
        due = entry.available_at.replace(tzinfo=clock().tzinfo)
        pauses.append((due - clock()).total_seconds())
        clock.now = due
    assert entry.attempts == 20
    assert all(min(2**n, 300) / 2 <= pause <= min(2**n, 300) for n, pause in enumerate(pauses))


async def test_an_entry_of_an_unknown_kind_waits(database: Database) -> None:
    """A newer version's entry is not lost, nor does it keep the others back."""
    clock, made = FrozenClock(), list[str]()

    async def handle(entry: OutboxEntry) -> None:
        made.append(entry.payload["n"])

    await put(database, clock, 1)
    await Relay(database, {}, clock, poll=POLL).drain()
    await put(database, clock, 1)
    await Relay(database, {"test": handle}, clock, poll=POLL).drain()
    assert made == ["0"]
    assert len(await entries(database)) == 1


async def test_a_late_failure_does_not_touch_the_next_holders_lease(database: Database) -> None:
    """Who comes back after the lease ran out can no longer give the entry back."""
    clock = FrozenClock()
    await put(database, clock, 1)

    async def lease() -> OutboxEntry:
        now = clock()
        work = database.transaction(lambda c: repository.lease(c, now, now + relaying.LEASE, 10))
        (entry,) = await work
        return entry

    first = await lease()
    clock.advance(relaying.LEASE)
    second = await lease()
    assert second.attempts == 2
    assert not await database.transaction(lambda c: repository.postpone(c, first, clock()))
    (row,) = await entries(database)
    assert row.leased_until.replace(tzinfo=clock().tzinfo) == second.leased_until


@pytest.mark.parametrize("attempts", [1, 5, 9, 10, 50, 10_000])
def test_pauses_have_a_limit(attempts: int) -> None:
    """However many failures there were, the next try is at most five minutes away."""
    assert timedelta(seconds=0.5) <= relaying.backoff(attempts) <= relaying.LONGEST_PAUSE
