"""The options of connections are ones that gRPC's core knows, and callers may ping as often as we do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from vibework.client import channel_options, service_config

from chassis.serving import connections
from chassis.settings import ServerSettings

# Three pings too many end a connection.
PINGS = 5
KEEPALIVE_SECONDS = 1


def test_the_core_knows_every_option() -> None:
    """gRPC passes an option over whose name it does not know, so a name that is spelled wrongly has no effect."""
    settings = ServerSettings(grpc_max_connection_age_ms=1)
    names = {name for name, _ in [*connections.options(settings), *channel_options(keepalive_seconds=1, config="")]}
    core = Path(str(import_module("grpc._cython.cygrpc").__file__)).read_bytes()
    assert [name for name in sorted(names) if name.encode() not in core] == []


async def silence(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
    """Say nothing for as long as many pings take."""
    await asyncio.sleep((PINGS + 1) * KEEPALIVE_SECONDS)
    yield b""


@pytest.mark.long
async def test_a_caller_may_ping_as_often_as_the_server() -> None:
    """A call on which nothing is said outlives the pings of its caller."""
    server = grpc.aio.server(options=connections.options(ServerSettings(grpc_keepalive_ms=KEEPALIVE_SECONDS * 1_000)))
    handlers: dict[str, Any] = {"Wait": grpc.unary_stream_rpc_method_handler(silence)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Silence", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = channel_options(keepalive_seconds=KEEPALIVE_SECONDS, config=service_config())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        wait: Any = channel.unary_stream("/Silence/Wait")
        assert [answer async for answer in wait(b"")] == [b""]
    await server.stop(0)
