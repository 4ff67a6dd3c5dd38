"""Health as a balancer sees it: follows the probe, and ends with the server."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from vibework.client import ACCEPTING

from chassis import background
from chassis.schema import SchemaLacking
from chassis.serving.health import Health, run_probe, watch_probe
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Running, Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SESSIONS = "vibework.users.v1.SessionService"


def _stub(running: Running) -> Any:
    return health_pb2_grpc.HealthStub(running.channel)


@pytest.mark.parametrize("service", ["", SESSIONS, "vibework.notifications.v1.NotificationService"])
async def test_each_service_and_the_whole_are_serving(serve: Serve, service: str) -> None:
    """A probe may ask for the server or for one service."""
    check = _stub(await serve()).Check(health_pb2.HealthCheckRequest(service=service))
    assert (await check).status == SERVING


async def test_a_service_that_is_not_here_is_not_found(serve: Serve) -> None:
    """The health protocol asks for NOT_FOUND."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _stub(await serve()).Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_list_names_every_service(serve: Serve) -> None:
    """One call shows the state of all."""
    response = await _stub(await serve()).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]
    assert {name: item.status for name, item in response.statuses.items()}[SESSIONS] == SERVING
    assert len(response.statuses) == 3


async def test_health_goes_with_the_database_and_comes_back(serve: Serve) -> None:
    """A watcher sees the loss of the database and its return."""
    running = await serve()
    watch = _stub(running).Watch(health_pb2.HealthCheckRequest(service=SESSIONS))
    seen = [(await watch.read()).status]
    running.probe_error.append(OSError("gone"))
    seen.append((await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status)
    running.probe_error.clear()
    seen.append((await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status)
    assert seen == [SERVING, NOT_SERVING, SERVING]
    watch.cancel()


async def test_a_process_without_its_database_is_alive(serve: Serve) -> None:
    """To start it anew, as a liveness probe would have it, brings no database back."""
    running = await serve()
    running.probe_error.append(OSError("gone"))
    watch = _stub(running).Watch(health_pb2.HealthCheckRequest())
    while (await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status != NOT_SERVING:
        pass
    assert (await _stub(running).Check(health_pb2.HealthCheckRequest(service="liveness"))).status == SERVING
    watch.cancel()


async def test_a_process_accepts_calls_until_it_begins_to_end(serve: Serve) -> None:
    """By this name clients leave a process that ends, and none whose database is away."""
    running = await serve()
    running.probe_error.append(OSError("gone"))
    overall = _stub(running).Watch(health_pb2.HealthCheckRequest())
    while (await asyncio.wait_for(overall.read(), PATIENCE_SECONDS)).status != NOT_SERVING:
        pass
    watch = _stub(running).Watch(health_pb2.HealthCheckRequest(service=ACCEPTING))
    seen = [(await watch.read()).status]
    running.server.health.drain()
    seen.append((await asyncio.wait_for(watch.read(), PATIENCE_SECONDS)).status)
    assert seen == [SERVING, NOT_SERVING]
    for each in (overall, watch):
        each.cancel()


async def test_a_watch_of_an_unknown_service_stays_open(serve: Serve) -> None:
    """The health protocol asks for SERVICE_UNKNOWN and an open stream."""
    watch = _stub(await serve()).Watch(health_pb2.HealthCheckRequest(service="nobody"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_an_open_watch_does_not_hold_up_the_stop(serve: Serve) -> None:
    """The stop tells watchers NOT_SERVING and ends their streams instead of waiting out its grace."""
    running = await serve()
    watch = _stub(running).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    await asyncio.wait_for(running.server.stop(2 * PATIENCE_SECONDS), PATIENCE_SECONDS)
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF


async def test_a_watch_of_a_server_that_has_ended_them_is_told_no_status(serve: Serve) -> None:
    """A client that is told one asks again at once; between the end of the watches and the goodbye that is a flood."""
    running = await serve()
    running.server.health.close()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _stub(running).Watch(health_pb2.HealthCheckRequest()).read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_probe_that_hangs_means_not_serving() -> None:
    """A database that neither answers nor refuses is away; the probe's time limit says so."""

    async def hang() -> None:
        await asyncio.Event().wait()

    assert await run_probe(hang, 0.01) == "TimeoutError"


async def test_a_server_that_stops_waits_for_what_its_probe_has_opened() -> None:
    """A probe in the middle of its work closes its connection before the event loop can end."""
    opened, closed = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        try:
            opened.set()
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            closed.set()

    running = asyncio.create_task(run_probe(probe, PATIENCE_SECONDS))
    await opened.wait()
    await background.end([running])
    assert (running.cancelled(), closed.is_set()) == (True, True)


async def test_the_log_says_why_it_is_not_serving_once_for_each_reason() -> None:
    """Also of a server that never served, and when the reason changes; a schema's own words, no others'."""
    outcomes = [SchemaLacking("without 0002"), SchemaLacking("without 0002"), OSError("hunter2"), None, None]
    ended = asyncio.Event()

    async def probe() -> None:
        await asyncio.sleep(0)
        if not outcomes:
            ended.set()
            return
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    with capture_logs() as logs:
        watching = asyncio.create_task(watch_probe(Health(()), probe, 0.001, 1))
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
        await background.end([watching])
    told = [entry.get("probe") for entry in logs if entry["event"] in ("serving", "not serving")]
    assert told == ["without 0002", "OSError", None]


@pytest.mark.parametrize("serving", [True, False])
async def test_a_probe_that_has_just_succeeded_is_not_made_again(serving: bool) -> None:
    """A server that starts has probed; where that failed it looks again at once."""
    health, probed = Health(()), asyncio.Event()
    health.set_serving(serving)

    async def probe() -> None:
        probed.set()

    watching = asyncio.create_task(watch_probe(health, probe, 3_600, PATIENCE_SECONDS))
    for _ in range(20):
        await asyncio.sleep(0)
    assert probed.is_set() != serving
    await background.end([watching])
