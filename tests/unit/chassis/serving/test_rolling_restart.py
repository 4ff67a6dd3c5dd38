"""Restarts under load: callers with the retry policy of `chassis/peers/clients.py` notice nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from vibework.testing.local.ports import free_port
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.peers.clients import open_channel
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.serving.test_lifecycle import Served, serving

REQUEST = pb.ValidateSessionRequest(session_token="a" * 43)
METHOD = "vibework.users.v1.SessionService/ValidateSession"
# Calls take no longer than those of the services do, and not all the same time.
SETTINGS = {"GRPC_DRAIN_MS": "100", "GRPC_GRACE_MS": "5000", "PAUSE": "0.002"}


@dataclass
class Load:
    """Callers that call for as long as they are let, and what their calls ended with."""

    target: str
    idempotent: tuple[str, ...]
    codes: Counter[str] = field(default_factory=Counter)

    async def call(self, channel: grpc.aio.Channel) -> None:
        """Make one call."""
        call = pb_grpc.SessionServiceStub(channel).ValidateSession(REQUEST, timeout=PATIENCE_SECONDS)
        code = await call.code()
        self.codes[code.name if code is grpc.StatusCode.OK else f"{code.name}: {await call.details()}"] += 1

    async def in_turn(self, channel: grpc.aio.Channel) -> None:
        """Call again as soon as there is an answer, for ever."""
        while True:
            await self.call(channel)

    @asynccontextmanager
    async def running(self, channels: int, callers: int) -> AsyncIterator[None]:
        """Have so many callers on each of so many channels, with connections of their own, call meanwhile."""
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(self._channel(n)) for n in range(channels)]
            await asyncio.gather(*(self.call(channel) for channel in opened))
            tasks = [asyncio.create_task(self.in_turn(channel)) for channel in opened for _ in range(callers)]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _channel(self, number: int) -> grpc.aio.Channel:
        # Channels that differ in an option do not share a connection.
        return open_channel(self.target, idempotent=self.idempotent, keepalive_ms=30_000 + number)


async def _restarted(stack: AsyncExitStack, port: int, **settings: str) -> Served:
    return await stack.enter_async_context(serving(GRPC_PORT=str(port), **SETTINGS, **settings))


async def _overlapping(times: int, load: Load, port: int) -> None:
    """Start the next process on the same port before the last one ends."""
    async with AsyncExitStack() as stack:
        current = await _restarted(stack, port, GRPC_SO_REUSEPORT="true")
        async with load.running(channels=4, callers=16):
            for _ in range(times):
                following = await _restarted(stack, port, GRPC_SO_REUSEPORT="true")
                current.process.terminate()
                await current.rest_of_output()
                current = following
                await asyncio.sleep(0.3)


async def _taking_turns(times: int, load: Load, ports: tuple[int, int]) -> None:
    """Two processes on ports of their own, of which one is always there."""
    async with AsyncExitStack() as stack:
        running = [await _restarted(stack, port) for port in ports]
        async with load.running(channels=4, callers=16):
            for number in range(times):
                place = number % 2
                running[place].process.terminate()
                await running[place].rest_of_output()
                running[place] = await _restarted(stack, ports[place])
                # The longest that callers wait before they connect anew (`chassis/peers/clients.py`).
                await asyncio.sleep(6)


Restart = Callable[[int, Load, Any], Any]


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 6])
async def test_a_restart_with_an_overlap_fails_no_call(times: int) -> None:
    """Two processes share the port for a while; calls go from one to the other."""
    port = free_port()
    load = Load(f"127.0.0.1:{port}", (METHOD,))
    await _overlapping(times, load, port)
    assert set(load.codes) == {"OK"}, load.codes


@pytest.mark.long
async def test_restarts_in_turn_fail_no_call() -> None:
    """Two processes behind one name, of which one is restarted at a time."""
    ports = (free_port(), free_port())
    load = Load("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports), (METHOD,))
    await _taking_turns(4, load, ports)
    assert set(load.codes) == {"OK"}, load.codes


@pytest.mark.long
async def test_what_the_grace_cuts_off_is_unavailable() -> None:
    """A call that outlives GRPC_GRACE_MS is told to go elsewhere, by a code and a reason that callers repeat."""
    # Calls that come in the drain are served.
    async with serving(GRPC_DRAIN_MS="2000", GRPC_GRACE_MS="400", PAUSE="3600") as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            await channel.channel_ready()
            call = served.validate(channel)
            served.process.terminate()
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == "the server is shutting down"
        assert any('"SHUTTING_DOWN"' in line for line in await served.rest_of_output())
