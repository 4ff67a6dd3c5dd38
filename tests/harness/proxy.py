"""A TCP proxy before a server, so that a test can take the server away from one client and give it back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.harness.patience import PATIENCE_SECONDS

LOOPBACK = "127.0.0.1"


@dataclass
class Proxy:
    """Passes connections on to a server, until it is cut."""

    host: str
    port: int
    # Where it listens: a port of LOOPBACK.
    listens: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    # Bytes are passed on while it is set.
    _flows: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """Break every connection and refuse new ones: the server is down."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_SECONDS)

    def restore(self) -> None:
        """Accept connections again, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_SECONDS)

    def freeze(self) -> None:
        """Let connections stand without passing anything on: the server hangs."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def thaw(self) -> None:
        """Pass everything on again, what was held up first."""
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.listens)
        self.listens = self._server.sockets[0].getsockname()[1]
        self._flows.set()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def run(self, ready: threading.Event) -> None:
        """Run the proxy's loop until ``end``."""
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        await self._close()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def end(self) -> None:
        """Let ``run`` return."""
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def proxy_to(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy to a server for as long as the context lasts."""
    proxy, ready = Proxy(host, port), threading.Event()
    thread = threading.Thread(target=proxy.run, args=[ready], name="proxy")
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS), "the proxy did not start"
        yield proxy
    finally:
        proxy.end()
        thread.join()
