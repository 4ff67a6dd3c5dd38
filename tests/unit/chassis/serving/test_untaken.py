"""Callers that take nothing of what was written for them, and answer pings: they do not hold up the end of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Serve
from tests.unit.chassis.raw_connection import VALIDATE, WATCH, WATCH_HEALTH, connected

# No test waits for the grace to be over.
GRACE_SECONDS = 3_600.0
VALIDATION = pb.ValidateSessionRequest(session_token=TOKEN).SerializeToString()
REQUESTS = {
    VALIDATE: VALIDATION,
    WATCH: notifications_pb2.WatchNotificationsRequest(user_id="user").SerializeToString(),
    WATCH_HEALTH: health_pb2.HealthCheckRequest().SerializeToString(),
}


async def _answer(_: Any, __: Any) -> Any:
    return pb.ValidateSessionResponse(session=pb.Session(user_agent="x" * 1_000))


async def _events(_: Any, __: Any) -> AsyncIterator[Any]:
    while True:
        yield notifications_pb2.WatchNotificationsResponse(resume_token="x" * 1_000)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("path", REQUESTS)
async def test_who_takes_nothing_does_not_hold_up_the_end(serve: Serve, path: bytes) -> None:
    """An answer, an endless stream, a watch of health: whoever leaves them untaken is cut off within the grace."""
    running = await serve(unary=_answer, stream=_events)
    async with connected(running.server.port, pings=True, window=0) as connection:
        reading = asyncio.create_task(connection.closed())
        connection.call(path, message=REQUESTS[path])
        # A call behind it on the same connection: the server has dealt with the first one by then.
        connection.call(b"/unknown", message=b"")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "grpc-status" not in connection.answered(3):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            await running.server.stop(GRACE_SECONDS)
        reading.cancel()


@pytest.mark.long
async def test_a_call_that_works_keeps_its_grace(serve: Serve) -> None:
    """Beside somebody who takes nothing, a call in flight ends as it would have, however long that is."""

    async def slow(_: Any, __: Any) -> Any:
        await asyncio.sleep(3.0)
        return pb.ValidateSessionResponse(refresh_due=True)

    running = await serve(unary=slow, stream=_events)
    async with connected(running.server.port, pings=True, window=0) as connection:
        reading = asyncio.create_task(connection.closed())
        connection.call(WATCH, message=REQUESTS[WATCH])
        call = asyncio.ensure_future(running.validate())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while running.server.in_flight.total < 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            await running.server.stop(GRACE_SECONDS)
        assert (await call).refresh_due
        reading.cancel()
