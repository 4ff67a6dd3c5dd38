"""The transport ``native``: HTTP/2 and gRPC are pygrpc-native's, written in Rust, in threads outside of Python's lock.

Its front hands over whole calls, with their message, several in one turn of the event loop. What it does not know,
server reflection and methods that do not exist, it passes to a server of ``grpc.aio`` on a socket that nobody else can
reach. What it does otherwise than ``grpc.aio``, docs/transports.md says.
"""

from __future__ import annotations

import asyncio
import logging as libraries
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from chassis.context.calls import Call
from chassis.errors import ShuttingDown
from chassis.interceptors.errors import fail
from chassis.interceptors.metadata_limit import MOST_METADATA_BYTES
from chassis.logs import logging
from chassis.serving import connections, ports
from chassis.serving.transports import PortTaken, Routes, Served
from chassis.serving.transports.grpcio import RoutesOfGrpc
from chassis.serving.transports.native_calls import NativeCall
from chassis.settings import ServerSettings

# Threads for HTTP/2.
IO_THREADS: Final = 1
# Calls that are handed over in one turn of the event loop, at most.
MOST_TOGETHER: Final = 64
# The front refuses more metadata with an answer that says no reason; up to here our own gate says one.
FRONT_METADATA_BYTES: Final = 4 * MOST_METADATA_BYTES
# The last calls of a stop: how long those may take that came while the ones before were being finished.
LAST_SECONDS: Final = 0.2
# The front closes without asking whether answers have been sent. It has so long to send the last ones.
SEND_SECONDS: Final = 0.1

log = logging.get("chassis.serving.transports.native")


class Native:
    """The front, and the server behind it; call it inside the event loop that will serve."""

    restarts = 0

    def __init__(self, settings: ServerSettings, routes: Sequence[Routes]) -> None:
        self.routes = routes
        self.failed = asyncio.Event()
        self._settings = settings
        self._table = list(_served_by_front(routes))
        self._open: dict[int, NativeCall] = {}
        self._refusing = Served(_refuse)
        self._leaving = False
        self._closed = False
        self._held = ExitStack()

    def bind(self) -> int:
        """Bind the port, and return it. Raises ``PortTaken``."""
        settings = self._settings
        address = ports.address(ports.place(settings.grpc_host)[0], settings.grpc_port)
        try:
            self._front = NativeGrpcFront(
                address,
                [(name, served.streaming) for name, served, _ in self._table],
                io_threads=IO_THREADS,
                call_details=True,
                delay_stream_headers=True,
                keepalive_time_ms=settings.grpc_keepalive_ms,
                keepalive_timeout_ms=settings.grpc_keepalive_timeout_ms,
                max_concurrent_streams=settings.grpc_max_calls_per_connection,
                max_metadata_size=FRONT_METADATA_BYTES,
                reuse_port=settings.grpc_so_reuseport,
            )
        except OSError as error:
            raise PortTaken(f"cannot listen on {address}: the port is taken or not ours") from error
        self._port = self._front.bound_port
        return self._port

    async def start(self) -> None:
        """Accept calls."""
        self._loop = asyncio.get_running_loop()
        self._behind = await self._start_behind()
        _expect_to_listen_no_more()
        self._front.start()
        threading.Thread(target=self._receive, name="native calls", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Accept no more connections; end the calls in flight, and those that come meanwhile, within ``grace`` seconds.

        The front cannot tell callers to go elsewhere while it serves, so calls are served until there is a moment in
        which none is in flight, and what comes then is refused.
        """
        if self._closed:
            return
        ports.leave(self._port)
        behind = asyncio.create_task(self._behind.stop(grace))
        end = self._loop.time() + grace
        await self._finished(end)
        self._leaving = True
        await self._finished(min(end, self._loop.time() + LAST_SECONDS))
        await self._cancel()
        await behind
        await self._close()

    async def cut(self) -> None:
        """End what ``stop`` still waits for."""
        if not self._closed:
            await asyncio.gather(self._cancel(), self._behind.stop(0))

    async def _start_behind(self) -> grpc.aio.Server:
        # Only this user can reach what is in such a folder.
        socket = Path(self._held.enter_context(TemporaryDirectory(prefix="calls-"))) / "behind"
        server = grpc.aio.server(options=connections.options(self._settings))
        server.add_generic_rpc_handlers([RoutesOfGrpc(each) for each in self.routes])
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._front.set_fallback(str(socket))
        return server

    def _receive(self) -> None:
        """Hand calls over to the event loop, until the front is closed; runs in a thread."""
        receive, call = self._front.recv_batch_details, self._loop.call_soon_threadsafe
        try:
            while (events := receive(MOST_TOGETHER)) is not None:
                call(self._take, events)
            call(self._ended)
        except RuntimeError:
            # The loop has ended without a stop.
            self._front.close()

    def _ended(self) -> None:
        if not self._closed:
            log.error("the front has closed by itself")
            self.failed.set()

    def _take(self, events: Iterable[Any]) -> None:
        for kind, number, method, message, _, details in events:
            if kind == EVENT_CANCEL:
                if (call := self._open.get(number)) is not None:
                    call.leave()
                continue
            call = NativeCall(self._front, number, message, details)
            if (size := len(message)) > (most := self._settings.grpc_max_message_bytes):
                text = f"SERVER: Received message larger than max ({size} vs. {most})"
                call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
                continue
            self._open[number] = call
            call.task = self._loop.create_task(self._serve(call, method))
            # Not in the task: one that is cancelled before it has begun runs nothing of itself.
            call.task.add_done_callback(partial(self._done, number))

    async def _serve(self, call: NativeCall, method: int) -> None:
        name, _, routes = self._table[method]
        await call.run(self._refusing if self._leaving else routes.find(name, call.metadata))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        call = self._open.pop(number)
        if task.cancelled():
            call.shut()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [call.task for call in self._open.values() if call.task is not None]

    async def _finished(self, end: float) -> None:
        """Wait until no call is in flight, or until the end."""
        while self._open and (left := end - self._loop.time()) > 0:
            await asyncio.wait(self._tasks(), timeout=left)

    async def _cancel(self) -> None:
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        await asyncio.sleep(SEND_SECONDS)
        self._closed = True
        await asyncio.to_thread(self._front.close)
        self._held.close()


def _served_by_front(routes: Sequence[Routes]) -> Iterable[tuple[str, Served, Routes]]:
    """Yield the methods that the front serves: those of one request, each once."""
    seen: set[str] = set()
    for each in routes:
        for name, served in each.served.items():
            if not served.conversation and name not in seen:
                seen.add(name)
                yield name, served, each


async def _refuse(_: Any, context: Any) -> Any:
    await fail(Call("", context.metadata), context, ShuttingDown())


def _expect_to_listen_no_more() -> None:
    """Keep a front that ends from logging, twenty times a second, that it accepts no connections any more."""
    libraries.getLogger("pygrpc_native.server").addFilter(_not_of_listening)


def _not_of_listening(record: libraries.LogRecord) -> bool:
    return "accept failed" not in record.getMessage()
