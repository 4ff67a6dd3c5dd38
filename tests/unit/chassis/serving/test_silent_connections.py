"""Connections that say nothing, half a header or nothing more: they end, and take nobody's place."""

from __future__ import annotations

import asyncio

import pytest

from chassis.serving import connections
from tests.bench import http2
from tests.bench.http2 import Kind
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Serve
from tests.unit.chassis.raw_connection import VALIDATE, connected


async def _closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await reader.read(65_536):
            pass


@pytest.mark.parametrize("said", [b"", b"PRI * HT", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"])
async def test_a_connection_that_does_not_speak_http2_ends(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """What sends nothing, or not what it should, is closed when the time for the handshake is over."""
    monkeypatch.setattr(connections, "HANDSHAKE_MS", 300)
    running = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(said)
    await _closed(reader)
    writer.transport.abort()


async def test_a_connection_without_calls_ends(serve: Serve) -> None:
    """One that made calls once, and then none, is closed; the caller's next call makes another."""
    running = await serve(grpc_max_connection_idle_ms=300)
    async with connected(running.server.port) as connection:
        await connection.answer(connection.call(b"/nobody/knows"))
        await asyncio.wait_for(connection.closed(), PATIENCE_SECONDS)
    await running.validate()
    await asyncio.sleep(0.6)
    await running.validate()


async def test_a_connection_with_a_call_that_never_says_what_it_wants_ends(serve: Serve) -> None:
    """Calls without a message do not keep their connection: the cap ends them, and then it has none."""
    running = await serve(grpc_max_connection_idle_ms=300, grpc_max_deadline_ms=300)
    async with connected(running.server.port) as connection:
        connection.call(VALIDATE)
        await asyncio.wait_for(connection.closed(), PATIENCE_SECONDS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("said", [b"", http2.frame(Kind.HEADERS, 0, 1, b"\x83")])
async def test_a_connection_that_answers_no_ping_ends(serve: Serve, said: bytes) -> None:
    """A peer that is gone is let go in the time of the settings, and one whose headers never end can answer no ping."""
    running = await serve(grpc_keepalive_ms=1_000, grpc_keepalive_timeout_ms=300, grpc_max_connection_idle_ms=0)
    async with connected(running.server.port, pings=False) as connection:
        connection.send(said)
        await asyncio.wait_for(connection.closed(), PATIENCE_SECONDS)
