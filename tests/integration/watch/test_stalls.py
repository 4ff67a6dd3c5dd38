"""Watchers that take nothing: they are ended, free their places, and hold up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from vibework.notifications.v1 import notification_service_pb2 as pb

from tests.bench import http2
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.watching import create, watching
from tests.unit.chassis.raw_connection import WATCH, RawConnection, connected

RESOURCE_EXHAUSTED = "8"
REQUEST = pb.WatchNotificationsRequest(user_id="user").SerializeToString()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@asynccontextmanager
async def answering_pings(running: Notifications, *, window: int = 0) -> AsyncIterator[RawConnection]:
    """Connect, and answer pings, but let the server send only ``window`` bytes on each stream."""
    async with connected(running.server.port, pings=True, window=window) as connection:
        reading = asyncio.create_task(connection.closed())
        try:
            yield connection
        finally:
            reading.cancel()
            await asyncio.wait([reading])


def placed(running: Notifications) -> int:
    """Return how many streams the server counts."""
    return running.server.in_flight.now["stream"]


@pytest.mark.parametrize("window", [0, 60])
async def test_one_that_reads_nothing_is_ended_and_frees_its_place(
    mongodb_database: MongoDatabase, window: int
) -> None:
    """Whether it takes the first event or none at all: others find room, and the answer of the hub is theirs alone."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"watch_max_watchers": 1, "watch_untaken_ms": 300, "grpc_max_streams": 1}
        running = await stack.enter_async_context(running_notifications(mongodb_database, **settings))
        connection = await stack.enter_async_context(answering_pings(running, window=window))
        stream = connection.call(WATCH, message=REQUEST)
        await until(lambda: placed(running) == 1)
        if window:
            await create(running.feed, "user")
        await until(lambda: placed(running) == 0)
        async with watching(running.feed, "user") as watch:
            made = await create(running.feed, "user")
            assert await watch.change() == ("created", made.id)
        # Once it reads again it learns how it ended.
        connection.send(http2.window_update(stream, http2.DEFAULT_WINDOW))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "ended" not in (answer := connection.answered(stream)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        assert answer["grpc-status"] == RESOURCE_EXHAUSTED


async def test_one_that_falls_behind_and_takes_nothing_is_ended_sooner(mongodb_database: MongoDatabase) -> None:
    """Where more happens than is kept for it, the patience is the shorter one."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"watch_queue_events": 5, "watch_patience_ms": 200, "watch_untaken_ms": 3_600_000}
        running = await stack.enter_async_context(running_notifications(mongodb_database, **settings))
        connection = await stack.enter_async_context(answering_pings(running, window=1_000))
        connection.call(WATCH, message=REQUEST)
        await until(lambda: placed(running) == 1)
        # The first event is taken, so it has been up to date.
        async with watching(running.feed, "user") as watch:
            for _ in range(30):
                made = await create(running.feed, "user")
                assert await watch.change() == ("created", made.id)
            await until(lambda: placed(running) == 1)


@pytest.mark.long
async def test_one_that_takes_nothing_does_not_hold_up_the_end(mongodb_database: MongoDatabase) -> None:
    """A drain tells watchers to end, and who takes not even that is cut off long before the grace is over."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"grpc_grace_ms": 3_600_000}
        running = await stack.enter_async_context(running_notifications(mongodb_database, **settings))
        connection = await stack.enter_async_context(answering_pings(running))
        for _ in range(3):
            connection.call(WATCH, message=REQUEST)
        await until(lambda: placed(running) == 3)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running.server.stop()
