"""The metrics endpoint: what it answers beside the metrics, on which addresses, and to the image's health check."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.telemetry import endpoint
from tests.integration.telemetry.scraping import request

HEALTH = Path(__file__).resolve().parents[4] / "deploy" / "image" / "health"
LOCAL = "127.0.0.1"


@dataclass
class Told:
    """What the server says of itself."""

    port: int
    serving: bool = True


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    """An endpoint on a port of its own."""
    listening = endpoint.listener(LOCAL, 0)
    told = Told(listening.getsockname()[1])

    async def read() -> str:
        return "up 1\n"

    async def is_serving() -> bool:
        return told.serving

    server = await endpoint.serve_on(listening, read, is_serving)
    yield told
    server.close()


async def test_health_is_in_the_status_and_liveness_does_not_follow_it(told: Told) -> None:
    """Whoever checks needs no more than the first line; a process that does not serve is not to be ended for it."""
    assert (await request(told.port, "/readyz"))[::2] == (200, "SERVING\n")
    told.serving = False
    assert (await request(told.port, "/readyz"))[::2] == (503, "NOT_SERVING\n")
    assert (await request(told.port, "/livez"))[0] == 200
    assert (await request(told.port, "/metrics"))[::2] == (200, "up 1\n")
    assert (await request(told.port, "/"))[0] == 404
    assert (await request(told.port, "/readyz", "POST"))[0] == 405


async def check(**variables: str) -> tuple[int, str]:
    """Run the image's health check; return its exit code and what it printed."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("METRICS_", "GRPC_"))}
    process = await asyncio.create_subprocess_exec(
        HEALTH, env={**known, **variables}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "[::]", LOCAL])  # noqa: S104
async def test_the_image_checks_itself_by_a_shell(told: Told, host: str) -> None:
    """Wherever the metrics are served; who listens everywhere is asked on loopback."""
    variables = {"METRICS_HOST": host, "METRICS_PORT": str(told.port)}
    assert await check(**variables) == (0, "200 OK\n")
    told.serving = False
    assert await check(**variables) == (1, "503 Service Unavailable\n")


async def test_the_image_is_ill_where_nobody_answers() -> None:
    """A process that has gone, or that has not come up yet, serves nobody."""
    with closing(endpoint.listener(LOCAL, 0)) as listening:
        port = listening.getsockname()[1]
    code, printed = await check(METRICS_PORT=str(port))
    assert (code != 0, printed) == (True, "")


async def test_without_metrics_the_probe_asks(tmp_path: Path) -> None:
    """Who turns the metrics off keeps a health check, at the price of a Python."""
    asked = tmp_path / "python"
    asked.write_text('#!/bin/sh\necho "$@"\n')
    asked.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert await check(METRICS_PORT="0", PATH=path) == (0, "-m chassis.probe\n")


@pytest.mark.parametrize("host", ["::", "[::]"])
@pytest.mark.parametrize("has_ipv6", [True, False])
async def test_everywhere_is_ipv4_too_and_alone_where_there_is_no_ipv6(
    host: str, has_ipv6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting for clusters of either kind, for both, and for a kernel without IPv6."""
    if has_ipv6 and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    if not has_ipv6:
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with closing(endpoint.listener(host, 0)) as listening:
        port = listening.getsockname()[1]
        assert await connects("127.0.0.1", port)
        assert await connects("::1", port) is has_ipv6


async def connects(host: str, port: int) -> bool:
    """Say whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
