"""The metrics endpoint, which Prometheus reads: ``GET /metrics`` over HTTP/1.1, one answer to a connection.

``/readyz`` beside it says in its status what the health service says of the server (200: SERVING, else 503), and
``/livez`` is 200: for those who check a server every few seconds and would start a program to speak gRPC.

The event loop serves it, and yields to calls between any two metrics. A thread would hold the interpreter lock for
5 ms at a time (``sys.getswitchinterval``), during which no call makes progress.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from chassis.logs import logging
from chassis.serving import ports
from chassis.telemetry.exposition import CONTENT_TYPE, text_of
from chassis.telemetry.registry import Registry

# Returns all metrics in Prometheus' text format.
Read = Callable[[], Awaitable[str]]
# Says whether health reports SERVING.
IsServing = Callable[[], Awaitable[bool]]

# Seconds within which a request must arrive and its answer be received.
_PATIENCE: Final = 10.0
_TRY_AGAIN_SECONDS: Final = 0.5
_LONGEST_REQUEST: Final = 16 * 1024
# A METRICS_HOST with this prefix names a listening socket that this process inherited from its parent.
INHERITED: Final = "fd:"
METRICS: Final = b"/metrics"
READY: Final = b"/readyz"
ALIVE: Final = b"/livez"


class MetricsPortTaken(OSError):
    """The address of the metrics cannot be bound."""


async def serve_on(listening: socket.socket, read: Read, is_serving: IsServing) -> asyncio.Server:
    """Answer on a socket with what ``read`` and ``is_serving`` return; close the server to end it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _answer(reader, writer, read, is_serving)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The caller has gone, or never sent its request.
            return
        finally:
            writer.close()

    return await asyncio.start_server(answer, sock=listening, limit=_LONGEST_REQUEST)


def listener(host: str, port: int) -> socket.socket:
    """Return the listening socket of an address, or the one that was inherited. Raises MetricsPortTaken."""
    try:
        if host.startswith(INHERITED):
            return socket.socket(fileno=int(host.removeprefix(INHERITED)))
        return ports.listening(host, port)
    except OSError as error:
        where = ports.address(host, port)
        raise MetricsPortTaken(f"cannot serve metrics on {where}: the port is taken or not ours") from error


async def listener_once_free(host: str, port: int) -> socket.socket:
    """Return the listening socket of an address as soon as the process that has it now has closed it."""
    while True:
        try:
            return listener(host, port)
        except MetricsPortTaken:
            await asyncio.sleep(_TRY_AGAIN_SECONDS)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read: Read, is_serving: IsServing
) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path not in (METRICS, READY, ALIVE):
        await _write(writer, "404 Not Found", "metrics are at /metrics\n", "text/plain")
    elif method != b"GET":
        await _write(writer, "405 Method Not Allowed", "GET only\n", "text/plain")
    elif path == METRICS:
        await _write_metrics(writer, read)
    elif path == ALIVE or await is_serving():
        await _write(writer, "200 OK", "SERVING\n", "text/plain")
    else:
        await _write(writer, "503 Service Unavailable", "NOT_SERVING\n", "text/plain")


async def _write_metrics(writer: asyncio.StreamWriter, read: Read) -> None:
    try:
        text = await read()
    except Exception as error:  # noqa: BLE001 - told by the log and by the status
        # A defect of one metric: the reader gets an error, and calls go on.
        logging.get(__name__).error("metrics failed", exc_info=error)
        await _write(writer, "500 Internal Server Error", "the log has the cause\n", "text/plain")
        return
    await _write(writer, "200 OK", text, CONTENT_TYPE)


async def _write(writer: asyncio.StreamWriter, status: str, text: str, kind: str) -> None:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def render(registry: Registry) -> str:
    """Write all metrics of a registry."""
    return "".join([text_of(family) async for family in registry.collect()])


async def fetch(address: tuple[str, int], seconds: float, path: bytes = METRICS) -> str | None:
    """Read the metrics of another process, or another path; None where it does not answer in time, or not 200."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(b"GET %b HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n" % path)
                answer = await reader.read(-1)
            finally:
                writer.close()
                await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200 "):
            return body.decode()
    return None
