"""A server's life as its operator sees it: signals, drain, exit codes, one clear line on failure."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from tests.harness.patience import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parents[1] / "echo_server.py"


@dataclass
class Served:
    """A server process, its address, and what it prints, which is read as it comes."""

    process: asyncio.subprocess.Process
    reading: asyncio.Task[None]
    # What it has printed after "listening".
    lines: list[str]
    address: str = ""

    def validate(self, channel: grpc.aio.Channel) -> Any:
        """Start a call that takes half a second."""
        stub = pb_grpc.SessionServiceStub(channel)
        return stub.ValidateSession(pb.ValidateSessionRequest(session_token="a" * 43))

    async def rest_of_output(self) -> list[str]:
        """Wait for the end of the process and return the lines that it printed after "listening"."""
        await asyncio.wait_for(self.reading, PATIENCE_SECONDS)
        await self.process.wait()
        return self.lines


async def _start(stderr: int | None = asyncio.subprocess.PIPE, **settings: str) -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "LOG_FORMAT": "json"} | settings
    return await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), env=environment, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )


async def _read(output: asyncio.StreamReader, listening: asyncio.Future[str], lines: list[str]) -> None:
    while line := (await output.readline()).decode().rstrip():
        if listening.done():
            lines.append(line)
        elif (event := json.loads(line))["event"] == "listening":
            listening.set_result(event["address"])


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[Served]:
    """Start a server and wait until it listens; it is killed afterwards, should it still be there."""
    process = await _start(None, **settings)
    assert process.stdout is not None
    listening = asyncio.get_running_loop().create_future()
    lines: list[str] = []
    reading = asyncio.create_task(_read(process.stdout, listening, lines))
    try:
        yield Served(process, reading, lines, await asyncio.wait_for(listening, PATIENCE_SECONDS))
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(process.wait(), reading)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Start the server and wait until it listens."""
    async with serving(GRPC_DRAIN_MS="3000", GRPC_GRACE_MS="5000") as started:
        yield started


async def test_sigterm_drains_before_it_ends(served: Served) -> None:
    """NOT_SERVING first while calls are still taken, then the end, with every call answered."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        before = served.validate(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        served.process.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        during = served.validate(channel)
        await asyncio.gather(before, during)
        output = await served.rest_of_output()
    assert served.process.returncode == 0
    events = [json.loads(line)["event"] for line in output if line.startswith("{")]
    assert [event for event in events if event != "rpc"] == ["draining", "stopped"]
    assert [line for line in output if line.startswith("closed")] == ["closed second", "closed first"]


async def test_a_second_signal_ends_at_once() -> None:
    """An operator who presses Ctrl-C twice does not wait for the drain."""
    async with serving(GRPC_DRAIN_MS="600000") as served:
        served.process.send_signal(signal.SIGINT)
        # One that came before the first was taken would be none.
        await until(lambda: any('"draining"' in line for line in served.lines), "the drain")
        served.process.send_signal(signal.SIGINT)
        output = await served.rest_of_output()
    assert served.process.returncode == 130
    assert "closed first" in output


async def test_a_server_that_accepts_no_more_calls_drains_and_fails() -> None:
    """A process whose listeners cannot be replaced ends by itself, not with 0, so that it is started anew."""
    process = await _start(GRPC_DRAIN_MS="0", FAILS="yes")
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 1
    assert [line for line in output.decode().splitlines() if "closed" in line] == ["closed second", "closed first"]


async def test_a_taken_port_is_one_line() -> None:
    """The start fails with a line that names the address, and no stack."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start(GRPC_PORT=str(port))
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    lines = [line for line in errors.decode().splitlines() if "cannot start" in line]
    assert lines == [f"cannot start: cannot listen on 127.0.0.1:{port}: the port is taken or not ours"]
    assert "Traceback" not in errors.decode()
    assert process.returncode == 1


async def test_a_wrong_setting_is_one_line() -> None:
    """The start fails with exit code 2 and a line that names the variable and its rule."""
    process = await _start(GRPC_PORT="many")
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 2
    (line,) = errors.decode().splitlines()
    assert line.startswith("wrong setting: GRPC_PORT: ")
    assert "integer" in line
