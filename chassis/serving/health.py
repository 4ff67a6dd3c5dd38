"""Health (``grpc.health.v1``): SERVING follows a database probe, and ends when draining starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.client import ACCEPTING

from chassis import background
from chassis.errors import ShuttingDown
from chassis.logs import logging, tracebacks
from chassis.schema import SchemaLacking

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICE_NAME: Final = "grpc.health.v1.Health"
# This name is SERVING for as long as the process answers, whatever its database does: for restarts of processes.
LIVENESS: Final = "liveness"
# How long a server that stops waits for a probe to close what it has opened: less than the half second after which
# ``background.end`` cancels again.
_CLOSING_SECONDS: Final = 0.4

Probe = Callable[[], Awaitable[object]]


class Health:
    """The state that health checks report; one for all services that are built, because all need the same database."""

    def __init__(self, services: Iterable[str], unbuilt: Iterable[str] = ()) -> None:
        """``unbuilt``: those of the services that can answer no call yet, whatever the database does."""
        self.services = frozenset(("", *services))
        self.unbuilt = frozenset(unbuilt)
        self.serving = False
        self.draining = False
        self.closed = False
        self._changed = asyncio.Event()

    def status(self, service: str) -> Any:
        """Return the status of a service ("" = the server as a whole)."""
        if service == LIVENESS:
            return SERVING
        if service == ACCEPTING:
            # Until the process begins to end, whatever its database does: for clients that know of another process.
            return NOT_SERVING if self.draining else SERVING
        if service not in self.services:
            return SERVICE_UNKNOWN
        return SERVING if self.is_serving and service not in self.unbuilt else NOT_SERVING

    @property
    def is_serving(self) -> bool:
        """Say whether the server as a whole is SERVING."""
        return self.serving and not self.draining

    def set_serving(self, serving: bool) -> None:
        """Report the outcome of the last probe."""
        if serving != self.serving:
            self.serving = serving
            self._notify()

    def drain(self) -> None:
        """Report NOT_SERVING from now on, whatever the probe says."""
        self.draining = True
        self._notify()

    def close(self) -> None:
        """End the open watches: an open one makes the server's stop take its whole grace."""
        self.closed = True
        self._notify()

    def require_open(self) -> None:
        """Raise ShuttingDown where watches have been ended.

        A client that is told a status watches anew at once, and one that is told none waits before it does.
        """
        if self.closed:
            raise ShuttingDown

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def _notify(self) -> None:
        # Each event is set once and replaced, so that no watcher can miss or swallow a change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers Check, List and Watch from a ``Health``."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer the status of a service; NOT_FOUND when the server has no such service."""
        status = self._health.status(request.service)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Answer the status of every service."""
        # The stubs of the package lag behind its messages.
        response = cast("Any", health_pb2).HealthListResponse()
        for service in self._health.services:
            response.statuses[service].status = self._health.status(service)
        return response

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002
        """Stream the status of a service whenever it changes, until the server drains."""
        self._health.require_open()
        last = None
        while True:
            status = self._health.status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
                continue
            if self._health.closed:
                return
            await self._health.changed()


async def watch_probe(health: Health, probe: Probe, interval: float, limit: float) -> None:
    """Run ``probe`` every ``interval`` seconds for ever; a failure or ``limit`` seconds mean not serving."""
    log = logging.get("chassis.serving.health")
    # The reason that was logged last: each new reason is logged once, also at the start of a server.
    told = None if health.serving else ""
    if health.serving:
        await asyncio.sleep(interval)  # the start has just probed
    while True:
        problem = await run_probe(probe, limit)
        if problem != told:
            if problem is None:
                log.info("serving")
            else:
                log.warning("not serving", probe=problem)
            told = problem
        health.set_serving(problem is None)
        await asyncio.sleep(interval)


async def run_probe(probe: Probe, limit: float) -> str | None:
    """Run a probe once; return None when it succeeded, else what went wrong (no driver text).

    A probe that does not end when it is cancelled is abandoned, so that health does not hang with it. A server that
    stops waits for it a while, since the loop may end next, and with it what closes the probe's connection.
    """
    running = asyncio.ensure_future(probe())
    try:
        await asyncio.wait((running,), timeout=limit)
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            await asyncio.wait_for(background.end([running]), _CLOSING_SECONDS)
        raise
    if not running.done():
        running.cancel()
        return "TimeoutError"
    error = asyncio.CancelledError() if running.cancelled() else running.exception()
    if isinstance(error, SchemaLacking):
        return str(error)
    return None if error is None else tracebacks.summary(error)
