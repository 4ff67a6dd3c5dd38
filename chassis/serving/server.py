"""The server factory: builds the server of production and of tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from chassis import background
from chassis.access.assembly import Access
from chassis.contract.unbuilt import UnbuiltFields
from chassis.interceptors.access_log import AccessLog, JsonLines, write_readably
from chassis.interceptors.audit_log import AuditLog, auditing
from chassis.interceptors.callers import identified, permitted, permitted_unlisted
from chassis.interceptors.envelope import Envelope, Observer
from chassis.interceptors.gates import Gate
from chassis.interceptors.in_flight import InFlight, enforce_caps
from chassis.interceptors.metadata_limit import metadata_limit
from chassis.logs import logging
from chassis.serving import audit, infrastructure, memory, ports
from chassis.serving.deafness import until_deaf
from chassis.serving.goodbye import Goodbye
from chassis.serving.health import Health, Probe, run_probe, watch_probe
from chassis.serving.registration import Composer, Registration, Router, record, unbuilt_services
from chassis.serving.transports import Routes, Transport, choice
from chassis.settings import ServerSettings

# During the grace: how long calls may still take to send their message.
UNSENT_SECONDS: Final = 1.0
# During the grace, once no call works any more: how long callers may still take what was written for them.
UNTAKEN_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05
# Of the grace: time for the answers to calls that did not finish.
_ANSWER_SECONDS: Final = 0.2


class Server:
    """A gRPC server with health that follows a probe, and a drain in the right order.

    ``draining`` is set when open streams should end; a streaming service waits for it beside its own events. ``deaf``
    is set when only a new process can reach the database.
    """

    def __init__(  # noqa: PLR0913 - the parts of a server, most of them by name
        self,
        transport: Transport,
        router: Router,
        settings: ServerSettings,
        health: Health,
        in_flight: tuple[InFlight, InFlight],
        *,
        probes: tuple[Probe, Probe | None],
        access: Access,
        draining: asyncio.Event,
        flush_log: Callable[[], None],
    ) -> None:
        self.health = health
        # Calls and health checks are counted apart.
        self.in_flight, self._checks = in_flight
        self.access = access
        self.draining = draining
        self.deaf = asyncio.Event()
        self.port = 0
        self._transport = transport
        self._router = router
        self.settings = settings
        self._probe, self._fresh = probes
        self._flush_log = flush_log
        self._background: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Return ``host:port`` as a caller dials it."""
        return ports.address(self.settings.grpc_host, self.port)

    @property
    def failed(self) -> asyncio.Event:
        """The event that is set when the server can accept no more calls, for good."""
        return self._transport.failed

    @property
    def listener_restarts(self) -> int:
        """Return how many listeners of the transport have died and been replaced."""
        return self._transport.restarts

    async def start(self) -> None:
        """Bind the port, probe once, then serve. Raises ``PortTaken`` or OSError."""
        self.port = self._transport.bind()
        timeout = self.settings.health_timeout_ms / 1000
        interval = self.settings.health_interval_ms / 1000
        self.health.set_serving(await run_probe(self._probe, timeout) is None)
        await self.access.prepare()
        await self._transport.start()
        watch = watch_probe(self.health, self._probe, interval, timeout)
        self._background = {
            asyncio.create_task(watch),
            asyncio.create_task(enforce_caps((self.in_flight, self._checks))),
            asyncio.create_task(self._watch_deafness()),
            asyncio.create_task(memory.keep_small()),
            *map(asyncio.create_task, self.access.work()),
        }

    async def _watch_deafness(self) -> None:
        if self._fresh is not None and self.settings.health_deaf_ms:
            await until_deaf(self.health, self._fresh, self.settings.health_deaf_ms / 1000)
            self.deaf.set()

    async def drain(self) -> None:
        """Report NOT_SERVING and give balancers ``GRPC_DRAIN_MS`` to look elsewhere."""
        self.health.drain()
        await asyncio.sleep(self.settings.grpc_drain_ms / 1000)

    async def stop(self, grace: float | None = None) -> None:
        """End streams, refuse new calls, and wait for those in flight.

        ``grace`` in seconds, GRPC_GRACE_MS when None; calls still running then are answered SHUTTING_DOWN.
        """
        seconds = self.settings.grpc_grace_ms / 1000 if grace is None else grace
        self.health.drain()
        self.health.close()
        self.draining.set()
        late = asyncio.get_running_loop().call_later(min(seconds, UNSENT_SECONDS), self._end_unsent)
        if self.settings.grpc_so_reuseport:
            ports.leave(self.port)
        goodbye = Goodbye(lambda: self.in_flight.total)
        self._router.hold(goodbye)
        try:
            await goodbye.said_by(lambda: self._leave(seconds))
            # A cancelled handler still runs its ``finally``; the pools it uses must outlive it.
            await self.in_flight.wait_idle(5.0)
            await self._end_background()
        finally:
            late.cancel()
            self._flush_log()

    def _end_unsent(self) -> None:
        """End calls that have not sent their message yet, instead of waiting for them to the end of the grace."""
        self.in_flight.end_unsent()
        self._checks.end_unsent()

    async def _leave(self, seconds: float) -> None:
        answering = min(_ANSWER_SECONDS, seconds / 2)
        giving_up = asyncio.get_running_loop().call_later(seconds - answering, self.in_flight.give_up)
        cutting = asyncio.create_task(self._cut_untaken())
        try:
            await self._transport.stop(seconds)
        finally:
            giving_up.cancel()
            await background.end([cutting])

    async def _cut_untaken(self) -> None:
        """Cut off callers that take nothing, instead of waiting for them to the end of the grace."""
        idle = 0.0
        while idle < UNTAKEN_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
            idle = 0.0 if self.in_flight.working + self._checks.working else idle + _LOOK_SECONDS
        await self._transport.cut()

    async def _end_background(self) -> None:
        await background.end(self._background)
        self._background.clear()


def build_server(  # noqa: PLR0913 - all but two by name, and most of them optional
    settings: ServerSettings,
    services: Sequence[Registration],
    *,
    probe: Probe,
    fresh: Probe | None = None,
    draining: asyncio.Event | None = None,
    gates: Sequence[Gate] = (),
    observers: Sequence[Observer] = (),
    begin: Observer | None = None,
    unbuilt_fields: UnbuiltFields | None = None,
) -> Server:
    """Put together a server; call it inside the event loop that will serve.

    ``services``: pairs of a generated ``add_XServicer_to_server`` and a servicer. ``probe``: fails or hangs when the
    database is away. ``fresh``: does the same over a new connection of its own (chassis/serving/deafness.py); None: a
    pool that is broken for good is not noticed. ``draining``: made by the caller when services need it too.
    ``gates``: refuse calls of these services before they are decoded, in this order (chassis/interceptors/gates.py).
    ``observers``: told of every call that ended, and ``begin`` of every call that begins. ``unbuilt_fields``: those of
    requests that the server does not act on yet (chassis/contract/unbuilt.py).
    """
    recorded = record(services)
    access = Access(settings, _methods(recorded))
    asking = _asking(access)
    health = Health(recorded, unbuilt_services(recorded))
    in_flight = _in_flight(settings)
    checks = infrastructure.checks_in_flight(in_flight.cap)
    access_log = _access_log()
    audit_log = audit.open_log(settings, access)
    noting = tuple(log.add for log in (access_log, audit_log) if log is not None)
    envelope = Envelope(in_flight, (*noting, *observers), begin, (metadata_limit, *asking, *gates))
    around = {} if audit_log is None else {"around": auditing}
    composer = Composer(envelope, settings.grpc_max_message_bytes, unbuilt_fields or {}, **around)
    router = composer.router(recorded)
    routes: list[Routes] = [router, infrastructure.health_checks(health, checks)]
    if settings.reflection_enabled:
        routes.append(infrastructure.contract(health, in_flight, asking))
    routes.append(infrastructure.UnknownMethods(envelope, _asking_of_unknown(access)))
    return Server(
        choice.transport(settings, routes),
        router,
        settings,
        health,
        (in_flight, checks),
        probes=(probe, fresh),
        access=access,
        draining=draining or asyncio.Event(),
        flush_log=lambda: _flush(access_log, audit_log),
    )


def _methods(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{service}/{name}" for service, handlers in services.items() for name in handlers]


def _asking(access: Access) -> tuple[Gate, ...]:
    """Return the gates that ask who calls and whether they may, in this order; none where nobody asks."""
    if access.identify is None:
        return ()
    policy = access.policy
    return (identified(access.identify), *(() if policy is None else (permitted(policy),)))


def _asking_of_unknown(access: Access) -> tuple[Gate, ...]:
    """Return those of methods that do not exist."""
    if access.identify is None:
        return ()
    policy = access.policy
    unlisted = () if policy is None else (permitted_unlisted(policy),)
    return (metadata_limit, identified(access.identify), *unlisted)


def _in_flight(settings: ServerSettings) -> InFlight:
    cap = settings.grpc_max_deadline_ms / 1000
    return InFlight(settings.grpc_max_in_flight, settings.grpc_max_streams, cap)


def _access_log() -> AccessLog | None:
    if not logging.is_enabled("info"):
        return None
    write = logging.json_writer()
    return AccessLog(write_readably if write is None else JsonLines(write))


def _flush(*logs: AccessLog | AuditLog | None) -> None:
    for log in logs:
        if log is not None:
            log.flush()
