"""Metadata is limited to 16 KiB, however few bytes it took on the wire, and a flood of it stops nobody."""

from __future__ import annotations

import asyncio
from time import thread_time

import pytest
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Log, Running, Serve
from tests.unit.chassis.raw_connection import CHECK, REFLECT, VALIDATE, WATCH, connected

REQUEST = pb.ValidateSessionRequest(session_token=TOKEN).SerializeToString()
# Refers to what was last put into the table of headers (RFC 7541, 6.1).
AGAIN = b"\xbe"
OK, RESOURCE_EXHAUSTED = "0", "8"


async def _call(
    running: Running, value: bytes, times: int = 1, path: bytes = VALIDATE, *, acknowledging: bool
) -> dict[str, str]:
    """Send a header once in full and then by references to it; return the answer."""
    async with connected(running.server.port, acknowledging=acknowledging) as connection:
        stream = connection.call(path, [(b"authorization", value)], AGAIN * (times - 1), message=REQUEST)
        return await asyncio.wait_for(connection.answer(stream), PATIENCE_SECONDS)


# A peer that has not acknowledged the server's settings is not held to them by gRPC's core.
@pytest.mark.parametrize("acknowledging", [True, False])
async def test_metadata_is_limited(serve: Serve, *, acknowledging: bool) -> None:
    """What others need passes, and what is beyond 16 KiB does not: one large value, many, or one many times."""
    running = await serve()
    assert (await _call(running, b"x" * 4_096, acknowledging=acknowledging))["grpc-status"] == OK
    assert (await _call(running, b"x" * 200, 30, acknowledging=acknowledging))["grpc-status"] == OK
    for value, times in ((b"x" * 16_384, 1), (b"x" * 200, 70), (b"x", 400)):
        answer = await _call(running, value, times, acknowledging=acknowledging)
        assert answer["grpc-status"] == RESOURCE_EXHAUSTED, (len(value), times)
    await running.validate()


@pytest.mark.parametrize("acknowledging", [True, False])
async def test_metadata_far_beyond_the_limit_has_an_answer(serve: Serve, *, acknowledging: bool) -> None:
    """A flood of it is one call refused; others on the connection go on."""
    running = await serve()
    answer = await _call(running, b"x", 64_000, acknowledging=acknowledging)
    assert answer["grpc-status"] == RESOURCE_EXHAUSTED


@pytest.mark.parametrize("path", [WATCH, CHECK, REFLECT, b"/nobody/knows"])
async def test_metadata_of_any_call_is_limited(serve: Serve, path: bytes) -> None:
    """Streams, health, reflection and unknown methods take no more of it than calls do."""
    running = await serve()
    answer = await _call(running, b"x" * 200, 70, path, acknowledging=False)
    assert answer["grpc-status"] in (RESOURCE_EXHAUSTED, "12")
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


@pytest.mark.long
async def test_metadata_beyond_the_limit_costs_little(log: Log, serve: Serve) -> None:
    """64,000 references in 64 KB take the event loop a moment, of processor time, and the log one line."""
    running = await serve()
    await running.validate()
    begun = thread_time()
    for _ in range(4):
        assert (await _call(running, b"x", 64_000, acknowledging=False))["grpc-status"] == RESOURCE_EXHAUSTED
    # Less than a tenth of a second each, where the machine is not busy.
    assert (thread_time() - begun) / 4 < 1
    await running.validate()
    lines = [line for line in await log.wait_for("rpc") if line["code"] != "OK"]
    assert [line["reason"] for line in lines] == ["METADATA_TOO_LARGE"] * len(lines)
    assert {line["event"] for line in log.lines} == {"rpc"}
