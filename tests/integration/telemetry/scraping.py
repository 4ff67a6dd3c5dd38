"""Reading metrics as Prometheus does, with the parser of its own client library."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from vibework.testing.local.ports import LOOPBACK

from tests.harness.patience import PATIENCE_SECONDS


@dataclass(frozen=True)
class Scrape:
    """What one scrape brought: the samples' values by name and labels, and the types by metric."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    types: dict[str, str]

    @property
    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {name for name, _ in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels; fails where there is none."""
        wanted = set(labels.items())
        found = [value for (sample, own), value in self.samples.items() if sample == name and wanted <= own]
        assert found, f"no sample {name} {labels}"
        return sum(found)


def parsed(text: str) -> Scrape:
    """Parse a text; fails where it is not in Prometheus' format, or names a sample twice."""
    families = list(text_string_to_metric_families(text))
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, key
            samples[key] = sample.value
    assert len(families) == len({family.name for family in families})
    return Scrape(samples, {family.name: family.type for family in families})


def metrics_port() -> tuple[int, dict[str, Any]]:
    """Return a port for metrics that is listened on already, and the settings by which a service answers there.

    The service inherits the socket, as a worker does: between choosing a port and binding it, another might take it.
    """
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    return port, {"metrics_host": f"fd:{listener.detach()}", "metrics_port": port}


async def request(port: int, target: str = "/metrics", method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Make one HTTP request and return its status, its headers in small letters, and its body."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


async def scrape(port: int) -> Scrape:
    """Read all metrics."""
    status, headers, body = await request(port)
    assert status == 200, body
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(headers["content-length"]) == len(body.encode())
    return parsed(body)


async def until(port: int, holds: Callable[[Scrape], bool]) -> Scrape:
    """Read all metrics again and again until something holds for them, as long as patience lasts; return those."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds(found := await scrape(port)):  # noqa: ASYNC110 - it is another process in production
            await asyncio.sleep(0.02)
    return found
