"""The server factory: the same server for production and for tests, put together in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from chassis import logging, tasks, tls
from chassis.health import SERVICE_NAME as HEALTH
from chassis.health import Health, HealthServicer, Probe, run_probe, watch_probe
from chassis.interceptors import Interceptor
from chassis.interceptors.access_log import AccessLog, JsonLines, write_readably
from chassis.interceptors.envelope import Envelope, Observer
from chassis.interceptors.in_flight import InFlight
from chassis.interceptors.validation import Validation
from chassis.registration import Composer, Registration, UnknownMethods, record
from chassis.settings import ServerSettings


class Server:
    """A gRPC server with health that follows a probe, and a drain in the right order.

    ``draining`` is set when open streams should end; a streaming service waits for it beside its
    own events.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        settings: ServerSettings,
        health: Health,
        in_flight: InFlight,
        *,
        probe: Probe,
        draining: asyncio.Event,
    ) -> None:
        self.health = health
        self.in_flight = in_flight
        self.draining = draining
        self.port = 0
        self._server = server
        self._settings = settings
        self._probe = probe
        self._background: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Return ``host:port`` as a caller dials it."""
        return f"{self._settings.grpc_host}:{self.port}"

    async def start(self) -> None:
        """Bind the port, probe once, then serve. Raises ``PortTaken`` or OSError."""
        self.port = _bind(self._server, self._settings)
        timeout = self._settings.health_timeout_ms / 1000
        interval = self._settings.health_interval_ms / 1000
        self.health.set_serving(await run_probe(self._probe, timeout) is None)
        await self._server.start()
        watch = watch_probe(self.health, self._probe, interval, timeout)
        self._background = {
            asyncio.create_task(watch),
            asyncio.create_task(self.in_flight.enforce_cap()),
        }

    async def drain(self) -> None:
        """Report NOT_SERVING and give balancers ``GRPC_DRAIN_MS`` to look elsewhere."""
        self.health.drain()
        await asyncio.sleep(self._settings.grpc_drain_ms / 1000)

    async def stop(self, grace: float | None = None) -> None:
        """End streams, refuse new calls, and wait for those in flight.

        ``grace`` in seconds, GRPC_GRACE_MS when None; calls still running after it are cancelled.
        """
        seconds = self._settings.grpc_grace_ms / 1000 if grace is None else grace
        self.health.drain()
        self.health.close()
        self.draining.set()
        await self._server.stop(seconds)
        # A cancelled handler still runs its ``finally``; the pools it uses must outlive it.
        await self.in_flight.wait_idle(5.0)
        await self._end_background()

    async def _end_background(self) -> None:
        await tasks.end(self._background)
        self._background.clear()


class PortTaken(OSError):
    """The address to serve on cannot be bound."""


def build_server(
    settings: ServerSettings,
    services: Sequence[Registration],
    *,
    probe: Probe,
    draining: asyncio.Event | None = None,
    interceptors: Sequence[Interceptor] = (),
    observers: Sequence[Observer] = (),
    begin: Observer | None = None,
) -> Server:
    """Put together a server; call it inside the event loop that will serve.

    ``services``: pairs of a generated ``add_XServicer_to_server`` and a servicer. ``probe``: fails or
    hangs when the database is away. ``draining``: made by the caller when services need it too.
    ``interceptors``: around the servicers, with the decoded and valid request. ``observers``: told of
    every call that ended, and ``begin`` of every call that begins.
    """
    recorded = record(services)
    health = Health(recorded)
    in_flight = _in_flight(settings)
    envelope = Envelope(in_flight, (*_access_log(), *observers), begin)
    composer = Composer(envelope, Validation(), interceptors)
    server = grpc.aio.server(options=_options(settings))
    server.add_generic_rpc_handlers((composer.router(recorded),))
    _add_infrastructure(server, settings, health)
    server.add_generic_rpc_handlers((UnknownMethods(envelope),))
    return Server(server, settings, health, in_flight, probe=probe, draining=draining or asyncio.Event())


def _in_flight(settings: ServerSettings) -> InFlight:
    cap = settings.grpc_max_deadline_ms / 1000
    return InFlight(settings.grpc_max_in_flight, settings.grpc_max_streams, cap)


def _access_log() -> tuple[Observer, ...]:
    if not logging.is_enabled("info"):
        return ()
    write = logging.json_writer()
    return (AccessLog(write_readably if write is None else JsonLines(write)).add,)


def _add_infrastructure(server: grpc.aio.Server, settings: ServerSettings, health: Health) -> None:
    registrations: list[Registration] = [(health_pb2_grpc.add_HealthServicer_to_server, HealthServicer(health))]
    if settings.reflection_enabled:
        names = (*sorted(health.services - {""}), HEALTH, reflection.SERVICE_NAME)
        registrations.append(
            (
                reflection_pb2_grpc.add_ServerReflectionServicer_to_server,
                reflection.aio.ReflectionServicer(names),
            )
        )
    for name, methods in record(registrations).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(methods)),))


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    credentials = tls.server_credentials(settings)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise PortTaken(f"cannot listen on {address}: the port is taken or not ours") from error


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", int(settings.grpc_so_reuseport)),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_ms),
        ("grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout_ms),
        # Callers may ping as often as we do; the default answers GOAWAY too_many_pings.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", settings.grpc_keepalive_ms // 2),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    if settings.grpc_max_connection_age_ms:
        options += [
            ("grpc.max_connection_age_ms", settings.grpc_max_connection_age_ms),
            ("grpc.max_connection_age_grace_ms", settings.grpc_max_connection_age_grace_ms),
        ]
    return options
