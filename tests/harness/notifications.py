"""The production notifications server in this process, on a free port, and the stubs to call it by."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub

from chassis.lifecycle import Scope
from chassis.server import Server
from notifications_service.app import build
from notifications_service.settings import Settings
from tests.harness.databases import MongoDatabase

# Not a secret: made up here, for servers that live as long as a test.
SECRET_KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Notifications:
    """A running server, a channel to it, and the stubs on that channel."""

    server: Server
    channel: grpc.aio.Channel
    feed: NotificationServiceStub
    deliveries: DeliveryServiceStub
    preferences: PreferenceServiceStub


def settings_for(database: MongoDatabase, **settings: Any) -> Settings:
    """Return settings for a server on this database; recipients are not checked unless a setting says so."""
    values: dict[str, Any] = {
        "grpc_port": 0,
        "grpc_drain_ms": 0,
        "grpc_grace_ms": 1_000,
        "health_interval_ms": 100,
        "mongodb_url": database.url,
        "secret_keys": SECRET_KEYS,
        "recipient_check": "off",
    }
    return Settings(**(values | settings))


@asynccontextmanager
async def running_notifications(database: MongoDatabase, **settings: Any) -> AsyncIterator[Notifications]:
    """Serve for as long as the context lasts; ``settings`` are names and values of ``Settings``."""
    async with AsyncExitStack() as resources:
        server = await build(settings_for(database, **settings), Scope(resources, asyncio.Event()))
        await server.start()
        resources.push_async_callback(server.stop)
        channel = await resources.enter_async_context(grpc.aio.insecure_channel(server.address))
        yield Notifications(
            server,
            channel,
            NotificationServiceStub(channel),
            DeliveryServiceStub(channel),
            PreferenceServiceStub(channel),
        )
