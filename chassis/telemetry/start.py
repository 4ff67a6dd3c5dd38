"""Starting telemetry: puts it together as the settings and the OTEL_* variables say."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Final

import grpc

from chassis import background
from chassis.interceptors.envelope import Observer
from chassis.logs import logging
from chassis.serving import plaintext
from chassis.serving.lifecycle import Scope
from chassis.serving.server import Server
from chassis.settings import ServerSettings
from chassis.telemetry import endpoint, otlp, process, rpc
from chassis.telemetry.families import Family, counter, gauge
from chassis.telemetry.of_callers import of_callers
from chassis.telemetry.registry import Registry
from chassis.telemetry.threads import in_thread

if TYPE_CHECKING:
    from chassis.telemetry.otlp_metrics import MetricsExport
    from chassis.telemetry.tracing import Tracing

# Seconds by which sending the last spans and metrics may delay the end of the process.
FLUSH_SECONDS: Final = 2.0
_PLAINTEXT: Final = "1 where calls are taken in plain text from other machines."
_PACKAGE: Final = "vibework-services"


@dataclass
class Telemetry:
    """The telemetry of a server: the registry for its metrics, and the hooks that the server calls.

    ``tracing``: None where spans are not wanted. ``measured``: whether anybody reads the metrics.
    """

    registry: Registry = field(default_factory=Registry)
    tracing: Tracing | None = None
    measured: bool = False
    _server: Server | None = None
    _calls: rpc.CallMetrics = field(default_factory=rpc.CallMetrics)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers of every call that ended."""
        measuring = (self._calls.add,) if self.measured else ()
        return measuring if self.tracing is None else (*measuring, self.tracing.leave)

    @property
    def begin(self) -> Observer | None:
        """The observer of every call that begins."""
        return None if self.tracing is None else self.tracing.enter

    @property
    def interceptors(self) -> Sequence[grpc.aio.ClientInterceptor]:
        """The interceptors of calls to the other service."""
        if self.tracing is None:
            return ()
        from chassis.telemetry.client_spans import ClientSpans

        return (ClientSpans(self.tracing),)

    def of_server(self, server: Server) -> Server:
        """Add the metrics of the server itself, and return it."""

        def collect() -> Iterator[Family]:
            yield from self._calls.collect()
            yield from rpc.in_flight(server.in_flight)
            yield counter(
                "vibework_listener_restarts_total",
                "Times that a listener of the port died and was replaced.",
                server.listener_restarts,
            )
            yield gauge("vibework_serving", "1 while health reports SERVING.", int(server.health.is_serving))
            yield gauge("vibework_plaintext", _PLAINTEXT, int(plaintext.leaves_the_machine(server.settings)))
            yield from of_callers(server.access)

        self.registry.add(collect)
        self._server = server
        return server

    async def is_serving(self) -> bool:
        """Say whether the server is there and its health reports SERVING."""
        return self._server is not None and self._server.health.is_serving


async def start(settings: ServerSettings, service: str, scope: Scope) -> Telemetry:
    """Open the metrics endpoint, and start the export over OTLP, for as long as the scope lasts.

    Call it before anything else is opened, so that it ends last. Raises MetricsPortTaken or StartFailed.
    """
    wanted = otlp.wanted(os.environ)
    telemetry = Telemetry(measured=bool(settings.metrics_port) or wanted.metrics)
    version = _version()
    telemetry.registry.add(lambda: _build(service, version))
    telemetry.registry.add(process.collect)
    telemetry.registry.add(_log)
    if wanted.traces or wanted.metrics:
        await _send(telemetry, wanted, (service, version), scope)
    if settings.metrics_port:
        await _listen(telemetry, settings, scope)
    return telemetry


def _version() -> str:
    try:
        return metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        # It runs from its sources, and was not installed.
        return "unknown"


def _build(service: str, version: str) -> Iterator[Family]:
    labels = (("service", service), ("version", version), ("grpc", grpc.__version__))
    yield gauge("vibework_build_info", "The build that runs; always 1.", 1, labels)


def _log() -> Iterator[Family]:
    yield counter(
        "vibework_log_lines_dropped_total",
        "Lines that were not written because the reader of the log stalled or is gone.",
        logging.dropped_lines(),
    )


async def _listen(telemetry: Telemetry, settings: ServerSettings, scope: Scope) -> None:
    address = (settings.metrics_host, settings.metrics_port)
    try:
        await _serve(telemetry, endpoint.listener(*address), settings, scope)
    except endpoint.MetricsPortTaken:
        if not settings.grpc_so_reuseport:
            raise
        # The process that this one replaces still uses the port; calls do not wait until it is free.
        taking_over = asyncio.create_task(_take_over(telemetry, settings, scope))
        scope.resources.push_async_callback(background.end, [taking_over])


async def _take_over(telemetry: Telemetry, settings: ServerSettings, scope: Scope) -> None:
    listening = await endpoint.listener_once_free(settings.metrics_host, settings.metrics_port)
    await _serve(telemetry, listening, settings, scope)


async def _serve(telemetry: Telemetry, listening: socket.socket, settings: ServerSettings, scope: Scope) -> None:
    server = await endpoint.serve_on(listening, lambda: endpoint.render(telemetry.registry), telemetry.is_serving)
    scope.resources.callback(server.close)
    logging.get(__name__).info("metrics", host=settings.metrics_host, port=settings.metrics_port)


async def _send(telemetry: Telemetry, wanted: otlp.Signals, build: tuple[str, str], scope: Scope) -> None:
    described = otlp.resource(os.environ, *build)
    last: list[Callable[[], Awaitable[object]]] = []
    if wanted.traces:
        telemetry.tracing = tracing = otlp.tracing(described)
        last.append(lambda: in_thread(tracing.close, FLUSH_SECONDS))
    if wanted.metrics:
        export = otlp.metrics(described, telemetry.registry, os.environ)
        running = asyncio.create_task(export.run())
        last.append(lambda: _finish(export, running))
    scope.resources.push_async_callback(_at_once, last)
    logging.get(__name__).info("OTLP", traces=wanted.traces, metrics=wanted.metrics)


async def _at_once(works: Sequence[Callable[[], Awaitable[object]]]) -> None:
    await asyncio.gather(*(work() for work in works))


async def _finish(export: MetricsExport, running: asyncio.Task[None]) -> None:
    await background.end([running])
    await export.send(FLUSH_SECONDS, last=True)
    export.close()
