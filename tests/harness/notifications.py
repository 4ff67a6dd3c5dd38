"""The production notifications server in this process, on a free port, and the stubs to call it by."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub

from chassis.clock import Clock, utc_now
from chassis.serving.lifecycle import Scope
from chassis.serving.server import Server
from notifications_service.app import build
from notifications_service.settings import Settings
from tests.harness.databases import MongoDatabase
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.settings import read_once

if TYPE_CHECKING:
    from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceAsyncStub
    from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceAsyncStub
    from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceAsyncStub

# Not a secret: made up here, for servers that live as long as a test.
SECRET_KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Notifications:
    """A running server, a channel to it, and the stubs on that channel."""

    server: Server
    channel: grpc.aio.Channel
    feed: NotificationServiceAsyncStub
    deliveries: DeliveryServiceAsyncStub
    preferences: PreferenceServiceAsyncStub


def settings_for(database: MongoDatabase, **settings: Any) -> Settings:
    """Return settings for a server on this database; recipients are not checked unless a setting says so.

    Patience with the database is long, for machines that do much else meanwhile; tests of timeouts shorten it.
    """
    values: dict[str, Any] = {
        "grpc_port": 0,
        "grpc_drain_ms": 0,
        "grpc_grace_ms": 1_000,
        "mongodb_url": database.url,
        "mongodb_query_timeout_ms": 20_000,
        "mongodb_server_selection_timeout_ms": 20_000,
        "mongodb_connect_timeout_ms": 20_000,
        "secret_keys": SECRET_KEYS,
        "recipient_check": "off",
    }
    return read_once(Settings, values | settings)


@asynccontextmanager
async def serving(database: MongoDatabase, clock: Clock = utc_now, **settings: Any) -> AsyncIterator[Server]:
    """Serve in the running loop for as long as the context lasts; ``settings`` are fields of ``Settings``."""
    async with AsyncExitStack() as resources:
        server = await build(settings_for(database, **settings), Scope(resources, asyncio.Event()), clock=clock)
        await server.start()
        resources.push_async_callback(server.stop)
        yield server


@asynccontextmanager
async def running_notifications(
    database: MongoDatabase, clock: Clock = utc_now, **settings: Any
) -> AsyncIterator[Notifications]:
    """Serve in the running loop and connect to the server."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        serving(database, clock, **settings) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
    ):
        yield Notifications(
            server,
            channel,
            NotificationServiceStub(channel),
            DeliveryServiceStub(channel),
            PreferenceServiceStub(channel),
        )


@contextmanager
def threaded_server(database: MongoDatabase, clock: Clock = utc_now, **settings: Any) -> Iterator[str]:
    """Serve in a loop and thread of its own, and yield the address: for tests that cannot be asynchronous."""
    address: list[str] = []
    ready, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with serving(database, clock, **settings) as server:
            address.append(server.address)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], name="notifications-service")
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS), "the notifications service did not start"
        yield address[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


@contextmanager
def threaded_notifications(
    database: MongoDatabase, clock: Clock = utc_now, **settings: Any
) -> Iterator[NotificationServiceStub]:
    """Serve as ``threaded_server`` does, and yield a blocking stub."""
    with threaded_server(database, clock, **settings) as address, grpc.insecure_channel(address) as channel:
        yield cast("Any", NotificationServiceStub)(channel)
