"""A TCP proxy before a server, so that a test can take the server away from one client and give it back."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.patience import PATIENCE_SECONDS

# Seconds between the pieces of what drips.
DRIP_SECONDS = 0.02
_ENDING_SECONDS = 1.0


@dataclass(eq=False)
class Link:
    """One connection. ``spared``: disturbances pass it over; ``abandoned``: nothing goes through it any more."""

    spared: bool = False
    abandoned: bool = False


@dataclass
class Proxy:
    """Passes connections on to a server, until it is cut."""

    host: str
    port: int
    # Where it listens: a port of LOOPBACK.
    listens: int
    # Connections whose callers begin with something that holds this are left alone by all but ``cut`` and ``reset``.
    spares: bytes = b""
    # What everything is held up by, in seconds, and as much more at random; bytes a second, 0: as many as come.
    latency: float = 0.0
    jitter: float = 0.0
    rate: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    # Those of the near ends, by which answers go.
    _callers: set[asyncio.StreamWriter] = field(default_factory=set)
    # Bytes are passed on while it is set; answers while the other one is, too.
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _requests: asyncio.Event = field(default_factory=asyncio.Event)
    _answers: asyncio.Event = field(default_factory=asyncio.Event)
    _open_links: list[Link] = field(default_factory=list)

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

    def mute(self) -> None:
        """Pass requests on, and no answers: the server does what it is told, and nobody hears of it."""
        self._loop.call_soon_threadsafe(self._answers.clear)

    def deafen(self) -> None:
        """Pass answers on, and no requests."""
        self._loop.call_soon_threadsafe(self._requests.clear)

    def reset(self) -> None:
        """Break every connection, and go on accepting new ones."""
        asyncio.run_coroutine_threadsafe(self._abort(), self._loop).result(PATIENCE_SECONDS)

    def abandon(self) -> None:
        """Let nothing go through the connections there are, which stay open at both ends; new ones are well."""
        self._loop.call_soon_threadsafe(self._abandon)

    def slow(self, latency: float = 0.0, jitter: float = 0.0, rate: int = 0) -> None:
        """Hold everything up from now on; without arguments, nothing any more."""
        self.latency, self.jitter, self.rate = latency, jitter, rate

    def heal(self) -> None:
        """Undo ``freeze``, ``mute``, ``deafen`` and ``slow``."""
        self.slow()
        for each in (self._flows, self._requests, self._answers):
            self._loop.call_soon_threadsafe(each.set)

    def _abandon(self) -> None:
        for link in self._open_links:
            link.abandoned = not link.spared

    async def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.listens)
        for each in (self._flows, self._requests, self._answers):
            each.set()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._callers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        link = Link()
        self._open_links.append(link)
        await asyncio.gather(self._pass(link, reader, far_writer), self._pass(link, far_reader, writer))
        self._open_links.remove(link)
        self._open -= {writer, far_writer}
        self._callers.discard(writer)

    async def _pass(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, is_first = writer in self._callers, True
        with suppress(OSError):
            while data := await reader.read(65_536):
                if is_first and not answers:
                    link.spared = bool(self.spares) and self.spares in data
                is_first = False
                if not link.spared:
                    await self._flows.wait()
                    await (self._answers if answers else self._requests).wait()
                for piece in [data] if link.spared else self._pieces(data):
                    if not link.spared:
                        await self._hold_up()
                    if not link.abandoned:
                        writer.write(piece)
                        await writer.drain()
        writer.close()

    def _pieces(self, data: bytes) -> list[bytes]:
        size = max(1, round(self.rate * DRIP_SECONDS)) if self.rate else len(data)
        return [data[at : at + size] for at in range(0, len(data), size)]

    async def _hold_up(self) -> None:
        seconds = self.latency + random.random() * self.jitter + (DRIP_SECONDS if self.rate else 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    def run(self, ready: threading.Event) -> None:
        """Run the proxy's loop until ``end``."""
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self.heal()
        await self._close()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        # Those whose connections have ended end by themselves; asyncio complains of those that are cancelled.
        _, pending = await asyncio.wait(pending, timeout=_ENDING_SECONDS) if pending else (set(), set())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def end(self) -> None:
        """Let ``run`` return."""
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def proxy_to(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy to a server for as long as the context lasts."""
    # Of those that no outgoing connection gets: while it is cut, nothing listens on it.
    proxy, ready = Proxy(host, port, free_port()), threading.Event()
    thread = threading.Thread(target=proxy.run, args=[ready], name="proxy")
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS), "the proxy did not start"
        yield proxy
    finally:
        proxy.end()
        thread.join()
