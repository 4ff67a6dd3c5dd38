"""A client for unary RPCs that costs its machine little: requests are bytes made beforehand, answers are not decoded.

It stands in for gRPC's own client, of which a call takes as much of a core as the servers that are to be measured.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.bench import http2
from tests.bench.calls import TIMEOUT_SECONDS, Call
from tests.bench.connection import Connection, Exchange

# How often calls are looked through for those that take too long, and a server that is away is tried.
SWEEP_SECONDS = 0.1
CONNECT_SECONDS = 5.0


class Client:
    """Calls one method over several connections, each call on the one with the fewest in flight."""

    def __init__(self, address: str, method: str, timeout: float) -> None:
        """``timeout``: of each call, in seconds; the server is told, too."""
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._headers = headers(address, method, timeout)
        self._timeout = timeout
        self._connections: list[Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def open(self, connections: int) -> None:
        """Connect; a server that is away is told by the calls."""
        for _ in range(connections):
            self._connect()
        await asyncio.wait(self._connecting, timeout=CONNECT_SECONDS)
        self._sweep()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        for connection in self._connections.copy():
            connection.close()

    def call(self, message: bytes) -> asyncio.Future[bytes]:
        """Begin a call, as soon as there is room; the future has the answer, or raises ``CallFailed``.

        ``message``: the request behind gRPC's prefix, ``http2.MAX_FRAME_BYTES`` at most.
        """
        exchange = Exchange(message, self._loop.create_future(), self._loop.time())
        if self._waiting or not self._sent(exchange):
            self._waiting.append(exchange)
        return exchange.answer

    def retired(self, connection: Connection) -> None:
        """Replace the connection."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._connect()

    def has_room(self) -> None:
        """Send what waits."""
        while self._waiting and self._sent(self._waiting[0]):
            self._waiting.popleft()

    def unsent(self, exchange: Exchange) -> None:
        """Send the call again, elsewhere."""
        exchange.parts.clear()
        self._waiting.append(exchange)
        self.has_room()

    def _sent(self, exchange: Exchange) -> bool:
        best, fewest = None, http2.MAX_STREAM_ID
        for connection in self._connections:
            if len(connection.calls) < fewest and connection.has_room_for(exchange):
                best, fewest = connection, len(connection.calls)
        if best is not None:
            best.send(exchange)
        return best is not None

    def _connect(self) -> None:
        if not self._closed:
            task = self._loop.create_task(self._keep_connecting())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _keep_connecting(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, connection = await self._loop.create_connection(self._made, self._host, self._port)
            except OSError as error:
                self._refuse(f"UNAVAILABLE: cannot connect: {error}")
                await asyncio.sleep(SWEEP_SECONDS)
                continue
            if not connection.retired:
                self._connections.append(connection)
                self.has_room()
                return

    def _made(self) -> Connection:
        return Connection(self._headers, self)

    def _refuse(self, reason: str) -> None:
        """Fail the calls that wait, unless another connection can take them."""
        if not self._connections:
            waiting, self._waiting = self._waiting, deque()
            for exchange in waiting:
                exchange.fail(reason)

    def _sweep(self) -> None:
        if self._closed:
            return
        limit = self._loop.time() - self._timeout
        for connection in self._connections.copy():
            connection.expire(limit)
        while self._waiting and self._waiting[0].begun < limit:
            self._waiting.popleft().fail("DEADLINE_EXCEEDED: not sent in time")
        self._loop.call_later(SWEEP_SECONDS, self._sweep)


def headers(address: str, method: str, timeout: float) -> list[tuple[str, str]]:
    """Return the headers of a call, as gRPC's own client sends them."""
    return [
        (":scheme", "http"),
        (":method", "POST"),
        (":path", method),
        (":authority", address),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "bench"),
        ("grpc-accept-encoding", "identity"),
        ("grpc-timeout", f"{round(timeout * 1000)}m"),
    ]


def message(request: bytes) -> bytes:
    """Return a request as it is sent: not compressed, and its length first. Raises ValueError where it is too long."""
    data = b"\0" + http2.number(len(request)) + request
    if len(data) > http2.MAX_FRAME_BYTES:
        raise ValueError(f"a request of {len(request)} bytes takes more than one frame")
    return data


@dataclass(frozen=True)
class GrpcCaller:
    """Calls a unary RPC with requests made beforehand, and does not look into the responses."""

    address: str
    method: str
    requests: Sequence[bytes] = field(repr=False)
    connections: int = 1

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Open the connections."""
        messages = [message(request) for request in self.requests]
        client = Client(self.address, self.method, TIMEOUT_SECONDS)
        await client.open(self.connections)
        try:
            yield lambda index: client.call(messages[index % len(messages)])
        finally:
            client.close()
