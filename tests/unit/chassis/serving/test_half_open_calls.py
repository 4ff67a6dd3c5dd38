"""Calls that never send their message: counted, refused and ended from their headers on, like any other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as pb

from chassis.serving import infrastructure, server
from tests.bench import http2
from tests.bench.http2 import Code, Kind
from tests.bench.usage import resident_mib
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Log, Running, Serve
from tests.unit.chassis.raw_connection import CHECK, REFLECT, VALIDATE, WATCH, WATCH_HEALTH, RawConnection, connected

REQUEST = pb.ValidateSessionRequest(session_token=TOKEN).SerializeToString()
CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = "1", "4", "8"
ROOT = Path(__file__).parents[4]


def half_open(running: Running, path: bytes = VALIDATE) -> Any:
    """Begin a call and send no message."""
    call: Any = running.channel.stream_unary(path.decode())
    return call(_nothing())


async def _nothing() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def _check(address: str) -> None:
    """Make a health check over a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, own) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        response = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def _counted(running: Running, number: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while running.server.in_flight.total != number:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def _statuses(connection: RawConnection, streams: list[int]) -> list[str]:
    return [(await connection.answer(stream)).get("grpc-status", "reset") for stream in streams]


@pytest.mark.parametrize("path", [VALIDATE, WATCH, CHECK, WATCH_HEALTH, REFLECT])
async def test_a_call_without_a_message_is_ended_by_the_cap(serve: Serve, path: bytes) -> None:
    """Nobody holds a call open by sending nothing: of a service, of health, or of reflection."""
    running = await serve(grpc_max_deadline_ms=100)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(half_open(running, path), PATIENCE_SECONDS)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


@pytest.mark.parametrize("path", [VALIDATE, WATCH, CHECK, WATCH_HEALTH])
async def test_a_caller_that_ends_without_a_message_is_answered(serve: Serve, path: bytes) -> None:
    """A half that is closed before it said anything is no request, and gets an answer instead of silence."""
    running = await serve()
    call: Any = running.channel.stream_unary(path.decode())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call(iter(())), PATIENCE_SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_calls_without_a_message_are_refused_beyond_the_limit(serve: Serve) -> None:
    """They count like calls: further ones are OVERLOADED at once, and a place is free when one of them has ended."""
    running = await serve(grpc_max_in_flight=2, grpc_max_streams=1)
    held, watch = [half_open(running) for _ in range(2)], half_open(running, WATCH)
    await _counted(running, 3)
    assert running.server.in_flight.now == {"unary": 2, "stream": 1}
    for path in (VALIDATE, WATCH, REFLECT):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(half_open(running, path), PATIENCE_SECONDS)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    held[0].cancel()
    await _counted(running, 2)
    await running.validate()
    for call in (held[1], watch):
        call.cancel()
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_a_stream_whose_message_has_come_outlives_the_cap(
    serve: Serve, past_the_cap: Callable[[], Awaitable[None]]
) -> None:
    """The cap on a stream is about its message: once that is there it lives as long as its caller wants."""

    async def stream(_: Any, __: Any) -> AsyncIterator[Any]:
        await past_the_cap()
        yield notifications_pb2.WatchNotificationsResponse(resume_token="late")

    running = await serve(stream=stream)

    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.1)
        yield notifications_pb2.WatchNotificationsRequest(user_id="user_01jd8k2v5rf2xbq0m3c9w7n4ht").SerializeToString()

    call: Any = running.channel.stream_stream(WATCH.decode())
    response = notifications_pb2.WatchNotificationsResponse.FromString(await call(late()).read())
    assert response.resume_token == "late"


async def test_checks_without_a_message_give_way_to_probes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe is answered however many checks are held open beside it; those are ended, the oldest first."""
    monkeypatch.setattr(infrastructure, "MAX_CHECKS", 3)
    running = await serve()
    async with connected(running.server.port) as connection:
        streams = [connection.call(CHECK) for _ in range(10)]
        assert await _statuses(connection, streams[:7]) == [RESOURCE_EXHAUSTED] * 7
        await _check(running.server.address)
        # One of the three that were left gave way to the probe.
        assert await _statuses(connection, streams[7:8]) == [RESOURCE_EXHAUSTED]


async def test_a_caller_that_leaves_before_its_message_is_logged_as_such(log: Log, serve: Serve) -> None:
    """Calls that are reset between headers and message end as CANCELLED, in one line each, and nothing is left."""
    running = await serve()
    async with connected(running.server.port) as connection:
        for _ in range(30):
            stream = connection.call(VALIDATE)
            connection.send(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(Code.CANCEL)))
            await asyncio.sleep(0)
        stream = connection.call(VALIDATE, message=REQUEST)
        assert (await connection.answer(stream))["grpc-status"] == "0"
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
    codes: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "OK" not in codes or len(codes) < 31:
            codes = [line["code"] for line in log.lines if line["event"] == "rpc"]
            await asyncio.sleep(0.01)
    assert sorted(codes) == ["CANCELLED"] * 30 + ["OK"]
    assert {line["event"] for line in log.lines} == {"rpc"}


async def test_a_drain_does_not_wait_for_messages_that_never_come(serve: Serve) -> None:
    """A call that has sent nothing is told to go elsewhere; it does not hold the stop for the whole grace."""
    running = await serve()
    call, watch = half_open(running), half_open(running, WATCH)
    await _counted(running, 2)
    await asyncio.wait_for(running.server.stop(2 * PATIENCE_SECONDS), PATIENCE_SECONDS)
    for ended in (call, watch):
        assert await ended.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_drain_lets_a_late_message_come(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose headers came before the stop, and its message a moment later, is served."""
    monkeypatch.setattr(server, "UNSENT_SECONDS", PATIENCE_SECONDS)
    running = await serve()
    proceed = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await proceed.wait()
        yield REQUEST

    method: Any = running.channel.stream_unary(VALIDATE.decode())
    call = method(late())
    await _counted(running, 1)
    stopping = asyncio.create_task(running.server.stop(PATIENCE_SECONDS))
    await running.server.draining.wait()
    proceed.set()
    assert pb.ValidateSessionResponse.FromString(await call) == pb.ValidateSessionResponse()
    await stopping


async def test_a_connection_takes_so_many_calls(serve: Serve) -> None:
    """What opens more calls on a connection than it was told it may has them refused by the transport, unseen by us."""
    running = await serve(grpc_max_calls_per_connection=3)
    async with connected(running.server.port) as connection:
        held = [connection.call(VALIDATE) for _ in range(3)]
        await _counted(running, 3)
        assert await _statuses(connection, [connection.call(VALIDATE)]) == ["reset"]
        assert running.server.in_flight.total == 3
    assert held
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


@asynccontextmanager
async def _process(**settings: str) -> AsyncIterator[tuple[int, str]]:
    """Run a server in a process of its own; yield its number and address."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "LOG_FORMAT": "json"} | settings
    script = Path(__file__).parents[1] / "echo_server.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=environment, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    assert process.stdout is not None
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
    # Read on, or the server would find its pipe full.
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield process.pid, line["address"]
    finally:
        process.kill()
        await asyncio.gather(process.wait(), reading)


@pytest.mark.long
async def test_thousands_of_calls_without_a_message_change_little() -> None:
    """4,000 over 8 connections: 1,000 are held until the cap, the others refused, and health is answered."""
    async with AsyncExitStack() as stack:
        process, address = await stack.enter_async_context(_process(GRPC_MAX_DEADLINE_MS="5000"))
        await _check(address)
        before = resident_mib(process)
        port = int(address.rpartition(":")[2])
        opened = [await stack.enter_async_context(connected(port)) for _ in range(8)]
        streams = [[connection.call(VALIDATE) for _ in range(500)] for connection in opened]
        for _ in range(20):
            await _check(address)
        found = [await _statuses(*pair) for pair in zip(opened, streams, strict=True)]
        after = resident_mib(process)
        await _check(address)
    statuses = Counter(status for part in found for status in part)
    # Of a listener's crowd that waits to be accepted, gRPC's core itself sends some away (CANCELLED).
    assert set(statuses) <= {RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, CANCELLED}
    # Where the machine is so slow that the first have ended before the last came, more than 1,000 were held in turn.
    assert statuses[DEADLINE_EXCEEDED] >= 1_000
    assert statuses[RESOURCE_EXHAUSTED] >= 1_000
    # 4,000 calls that are held take 85 MiB, 1,000 about 20, and on a slow machine those held in turn up to 45.
    assert after - before < 60
