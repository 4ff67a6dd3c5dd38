"""Listeners: several gRPC servers of one event loop on one port, so that several calls are accepted at a time.

A ``grpc.aio`` server accepts one new call in a turn of the event loop, however many wait. Several servers accept one
each; the kernel spreads the connections among them (docs/decisions/0052-several-listeners.md).

A listener whose accept loop has failed accepts no more calls, and is replaced by a new one
(docs/decisions/0053-listeners-watched.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import grpc

from chassis.logs import logging, tracebacks
from chassis.serving import connections, method_names, ports, tls
from chassis.serving.transports import PortTaken, Routes
from chassis.serving.transports.grpcio import RoutesOfGrpc
from chassis.settings import ServerSettings

# All listeners together take half a MiB, and one file descriptor each.
LISTENERS: Final = 16
# How often it is checked that they live, since gRPC does not report a death. A check takes 0.02 ms.
LOOK_SECONDS: Final = 0.2
# After so many failures in a row to replace a dead listener, the server gives up its port.
GIVE_UP_AFTER: Final = 15
_START_SECONDS: Final = 5.0

log = logging.get("chassis.serving.listeners")


class StoppedServing(Exception):
    """A listener has ended, and gRPC names no cause."""


class Listeners:
    """Servers with the same routes on one port: the transport ``grpcio``; call it inside the loop that will serve.

    ``restarts``: how many have died and been replaced. ``failed``: set when that could not be done.
    """

    def __init__(self, settings: ServerSettings, routes: Sequence[Routes]) -> None:
        method_names.tolerate()
        self.restarts = 0
        self.failed = asyncio.Event()
        self._settings = settings
        self.routes = routes
        self._handlers = [RoutesOfGrpc(each) for each in routes]
        self._servers = [self._server() for _ in range(LISTENERS)]
        # Held while listeners change, so that ``stop`` finds none that is half started.
        self._changing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._dying: dict[grpc.aio.Server, asyncio.Task[None]] = {}
        self._held = ExitStack()

    def bind(self) -> int:
        """Bind the port for all of them, and return it. Raises ``PortTaken``."""
        host, port = self._settings.grpc_host, self._settings.grpc_port
        self._credentials = tls.server_credentials(self._settings)
        try:
            if not self._settings.grpc_so_reuseport:
                # Kept to the end, so that the port stays ours even while no listener lives.
                port = self._held.enter_context(ports.reserve(host, port)).getsockname()[1]
            for server in self._servers:
                port = self._bind(server, port)
        except (OSError, RuntimeError) as error:
            self._held.close()
            raise PortTaken(f"cannot listen on {ports.address(host, port)}: the port is taken or not ours") from error
        self._port = port
        return port

    async def start(self) -> None:
        """Accept calls."""
        await asyncio.gather(*(server.start() for server in self._servers))
        self._watching = asyncio.create_task(self._watch())

    async def stop(self, grace: float) -> None:
        """Refuse new calls; those in flight are cancelled after ``grace`` seconds."""
        async with self._changing:
            if self._watching is not None:
                self._watching.cancel()
        await asyncio.gather(*(_stop(server, grace) for server in (*self._servers, *self._dying)))
        self._held.close()

    async def cut(self) -> None:
        """End what ``stop`` still waits for."""
        await asyncio.gather(*(_stop(server, 0) for server in (*self._servers, *self._dying)))

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=connections.options(self._settings))
        server.add_generic_rpc_handlers(self._handlers)
        return server

    def _bind(self, server: grpc.aio.Server, port: int) -> int:
        address = ports.address(self._settings.grpc_host, port)
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials())

    async def _watch(self) -> None:
        """Replace listeners that have died, until that fails ``GIVE_UP_AFTER`` times in a row."""
        failures = 0
        while failures < GIVE_UP_AFTER:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._changing:
                failures = 0 if await self._replace_dead() else failures + 1
        log.error("listeners that died cannot be replaced; giving up")
        self.failed.set()

    async def _replace_dead(self) -> bool:
        """Replace the listeners that have died; say whether all live now."""
        for place, server in enumerate(self._servers):
            if (cause := await _cause_of_death(server)) is not None and not await self._replace(place, cause):
                return False
        return True

    async def _replace(self, place: int, cause: Exception) -> bool:
        dead, server = self._servers[place], self._server()
        try:
            self._bind(server, self._port)
            async with asyncio.timeout(_START_SECONDS):
                await server.start()
        except Exception as error:  # noqa: BLE001 - whatever is in the way now may be gone at the next attempt
            log.error("a listener died and cannot be replaced", cause=tracebacks.summary(error))  # noqa: TRY400
            return False
        self._servers[place] = server
        self.restarts += 1
        log.warning("a listener died; another one took its place", cause=tracebacks.summary(cause))
        self._dying[dead] = asyncio.create_task(self._let_end(dead))
        return True

    async def _let_end(self, dead: grpc.aio.Server) -> None:
        """Stop a dead listener; its calls in flight get the same grace as those of a connection that is too old."""
        try:
            await _stop(dead, self._settings.grpc_max_connection_age_grace_ms / 1000)
        finally:
            del self._dying[dead]


async def _stop(server: grpc.aio.Server, grace: float) -> None:
    try:
        await server.stop(grace)
    except Exception:  # noqa: BLE001 - what its accept loop has failed with: anything
        # The first ``stop`` of a server that has just died only raises its cause of death.
        await server.stop(grace)


async def _cause_of_death(server: grpc.aio.Server) -> Exception | None:
    """Return the error that has ended a server; None while it lives."""
    try:
        lives = await server.wait_for_termination(0)
    except Exception as error:  # noqa: BLE001 - gRPC raises what its accept loop has failed with: anything
        return error
    return None if lives else StoppedServing()
