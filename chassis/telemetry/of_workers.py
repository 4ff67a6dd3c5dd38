"""Metrics of all workers at one address, which their parent serves; the label ``worker`` tells them apart.

Each worker serves its own metrics on a loopback socket that it inherits from the parent. So the parent knows its
address before it starts, and no other worker can take it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from chassis import background
from chassis.telemetry import endpoint
from chassis.telemetry.exposition import merged, text_of
from chassis.telemetry.families import Family, by, gauge

# Seconds that a worker may take to answer; otherwise it counts as down.
_PATIENCE: Final = 2.0
_LOOPBACK: Final = "127.0.0.1"


class WorkerMetrics:
    """Opens the sockets of the workers and serves the metrics read from them; enter it before the workers start.

    ``port`` 0: nothing is opened. ``shared``: the processes that ours replace may still use the address; it is taken
    over once they have closed it. Raises MetricsPortTaken.
    """

    def __init__(self, host: str, port: int, count: int, *, shared: bool = False) -> None:
        self.restarts = [0] * count
        self._address = (host, port)
        self._count = count
        self._shared = shared
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def inherited(self, place: int) -> tuple[int, ...]:
        """Return what a worker inherits: the number of its socket, or nothing."""
        return (self._sockets[place].fileno(),) if self._sockets else ()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Answer for all workers for as long as the context lasts."""
        serving = asyncio.create_task(self._serve()) if self._sockets else None
        try:
            yield
        finally:
            if serving is not None:
                await background.end([serving])

    async def _serve(self) -> None:
        if self._listener is None:
            self._listener = await endpoint.listener_once_free(*self._address)
        server = await endpoint.serve_on(self._listener, self._read, self._is_serving)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _read(self) -> str:
        answers = await self._ask(endpoint.METRICS)
        texts = {str(place): text for place, text in enumerate(answers) if text is not None}
        return merged(texts, "worker") + "".join(map(text_of, self._own(set(texts))))

    async def _is_serving(self) -> bool:
        """Say whether a worker serves: all probe the same database, and one that drains lets the others serve."""
        return any(answer is not None for answer in await self._ask(endpoint.READY))

    async def _ask(self, path: bytes) -> list[str | None]:
        addresses = [worker.getsockname() for worker in self._sockets]
        return await asyncio.gather(*(endpoint.fetch(address, _PATIENCE, path) for address in addresses))

    def _own(self, answered: set[str]) -> Iterator[Family]:
        places = [str(place) for place in range(self._count)]
        up = {place: float(place in answered) for place in places}
        restarts = dict(zip(places, map(float, self.restarts), strict=True))
        yield gauge("vibework_workers", "Processes that are to run.", self._count)
        yield Family("vibework_worker_up", "gauge", "1 for a worker that told its metrics.", by("worker", up))
        yield Family(
            "vibework_worker_restarts_total",
            "counter",
            "Times that a worker died and was replaced.",
            by("worker", restarts),
        )

    def __enter__(self) -> Self:
        host, port = self._address
        if port:
            try:
                self._listener = endpoint.listener(host, port)
            except endpoint.MetricsPortTaken:
                if not self._shared:
                    raise
            self._sockets = [socket.create_server((_LOOPBACK, 0)) for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for opened in self._sockets if self._listener is None else (self._listener, *self._sockets):
            opened.close()
