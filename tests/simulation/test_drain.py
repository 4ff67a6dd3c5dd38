"""The drain of a server, under calls that come, last and are cleaned up after; gRPC's core is made up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from chassis import background
from chassis.interceptors import Method
from chassis.interceptors.envelope import Envelope
from chassis.interceptors.in_flight import InFlight
from chassis.serving import goodbye, lifecycle, server
from chassis.serving.goodbye import Goodbye
from chassis.serving.guard import EXIT_STOPPED_AT_ONCE
from chassis.serving.health import Health
from chassis.serving.lifecycle import EXIT_OK, Scope
from chassis.serving.registration import Router
from chassis.serving.server import Server
from chassis.serving.transports import Served
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.world import World

CUT = "a caller who waits for each answer is cut off by no drain that has found a quiet moment"
ANSWERED = "each call that was taken is answered by us, with its result or with SHUTTING_DOWN"
OPEN = "nothing that a call uses is closed before the call has cleaned up"
TOLD = "balancers are told for as long as was set before calls are refused"
IN_TIME = "a drain ends in time, and at once with a second signal"

MUTANTS = (
    Mutant(CUT, Server, "stop", "self._router.hold(goodbye)", "pass"),
    Mutant(CUT, Goodbye, "_quiet", "self._serving()", "0"),
    Mutant(CUT, Goodbye, "_quiet", "await asyncio.sleep(_QUIET_SECONDS)", "await asyncio.sleep(0)"),
    Mutant(ANSWERED, Server, "_leave", "self.in_flight.give_up)", "str)"),
    Mutant(ANSWERED, Server, "stop", "self.draining.set()", "pass"),
    Mutant(ANSWERED, Goodbye, "said_by", "self._said.set()", "pass"),
    Mutant(OPEN, lifecycle, "_drain", "await server.stop()", "pass"),
    Mutant(TOLD, Server, "drain", "await asyncio.sleep(self.settings.grpc_drain_ms / 1000)", "pass"),
    Mutant(IN_TIME, lifecycle, "_until", "(draining, cut_short), return_when", "(draining,), return_when"),
)

_DRAIN, _GRACE = 0.2, 1.0
_UNARY, _STREAM = "/simulated.Service/Unary", "/simulated.Service/Stream"


class Core:
    """gRPC's core, in the place of the transport: runs handlers, and cancels what outlives the grace of a stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failed = asyncio.Event()
        self.router: Any = None
        self.open: set[asyncio.Task[Any]] = set()
        # When it said goodbye to all connections, and those it has cancelled.
        self.stopped_at: float | None = None
        self.cancelled: set[asyncio.Task[Any]] = set()
        self.on_stop: Any = None

    def bind(self) -> int:
        """Bind no port."""
        return 1

    async def start(self) -> None:
        """Begin."""

    async def stop(self, grace: float) -> None:
        """Say goodbye, wait for what is open, and cancel the rest, whose cleaning up nobody waits for."""
        self.stopped_at = self.world.loop.now
        self.on_stop()
        if self.open:
            await asyncio.wait(self.open, timeout=grace)
        await self.cut()

    async def cut(self) -> None:
        """Cancel what is open."""
        for task in self.open:
            if task.cancel():
                self.cancelled.add(task)

    async def serve(self, method: str) -> str:
        """Take a call; return the name of its status."""
        task = self.world.start(self._run(method), "server")
        self.open.add(task)
        task.add_done_callback(self.open.discard)
        await asyncio.wait((task,))
        return "CANCELLED" if task.cancelled() or task in self.cancelled else task.result()

    async def _run(self, method: str) -> str:
        context = Context(self.world)
        try:
            await self.router.find(method, ()).handle(None, context)
        except grpc.aio.AbortError:
            return context.status
        return "OK"


class Context:
    """The context of a call whose message comes a moment later."""

    status = ""

    def __init__(self, world: World) -> None:
        self.world = world

    async def read(self) -> bytes:
        """Return the message."""
        await self.world.pause(0.0, 0.001)
        return b""

    async def abort(self, code: grpc.StatusCode, _: str, __: Any) -> None:
        """End the call."""
        self.status = code.name
        raise grpc.aio.AbortError

    def time_remaining(self) -> None:
        """Tell of no deadline."""

    def cancelled(self) -> bool:
        """Say that the caller is there."""
        return False


class TellingHealth(Health):
    """Notes since when it reports NOT_SERVING."""

    drained_at: float | None = None

    def drain(self) -> None:
        """Note the moment."""
        if self.drained_at is None:
            self.drained_at = asyncio.get_running_loop().time()
        super().drain()


class Process:
    """A server, put together as ``build_server`` does it, with handlers that take their time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.core = Core(world)
        self.is_open = False
        self.at_once = False
        # How long calls may clean up; their answers come in time only where that is less than is left for it.
        self.cleaning = world.random.choice((0.08, 0.08, 2.0))
        self.health = TellingHealth(())

    async def build(self, scope: Scope) -> Server:
        """Put the server together."""
        self.is_open = True
        self.scope = scope
        scope.resources.callback(self._close)
        in_flight = InFlight(1_000, 1_000, 60.0)
        envelope = Envelope(in_flight)
        unary = envelope.unary(Method(_UNARY), bytes, self._unary, bytes)
        stream = envelope.stream(Method(_STREAM, streaming=True), bytes, self._stream)
        self.core.router = Router({_UNARY: Served(unary), _STREAM: Served(stream, streaming=True)})
        settings: Any = SimpleNamespace(
            grpc_drain_ms=_DRAIN * 1000, grpc_grace_ms=_GRACE * 1000, grpc_so_reuseport=False, grpc_host="127.0.0.1",
            health_timeout_ms=1_000, health_interval_ms=2_000, health_deaf_ms=0,
        )  # fmt: skip

        async def nothing() -> None:
            """Prepare nothing, and find nothing wrong."""

        access: Any = SimpleNamespace(prepare=nothing, work=list)
        return Server(
            cast("Any", self.core), self.core.router, settings, self.health, (in_flight, InFlight(1, 1, 5.0)),
            probes=(nothing, None), access=access, draining=scope.draining, flush_log=lambda: None,
        )  # fmt: skip

    def _close(self) -> None:
        self.is_open = False

    async def _unary(self, request: bytes, _: Any) -> bytes:
        world = self.world
        try:
            await world.pause(0.0, world.random.choice((0.002, 0.002, 0.1, 4.0)))
        finally:
            if world.chance(0.3):
                try:
                    await world.pause(0.0, self.cleaning)
                finally:
                    # Also where it is cancelled once more.
                    await world.pause(0.0, self.cleaning)
            world.check(self.is_open or self.at_once, OPEN)
        return request

    async def _stream(self, _: bytes, __: Any) -> None:
        await self.scope.draining.wait()


class Guard:
    """In place of the guard of a process: tells of signals."""

    def __init__(self) -> None:
        self.stop, self.stop_now = asyncio.Event(), asyncio.Event()

    def attach(self) -> None:
        """Watch nothing."""

    def expect_end(self) -> None:
        """Force nothing."""


async def drains(world: World) -> None:
    """Call a server over and over, and tell it to end, once or twice."""
    settle, lifecycle._settle_memory = lifecycle._settle_memory, lambda: None
    try:
        await _drains(world)
    finally:
        lifecycle._settle_memory = settle


async def _drains(world: World) -> None:
    process, guard, held_at = Process(world), Guard(), 0.0
    core = process.core

    def stopped() -> None:
        told = world.loop.now - (process.health.drained_at or world.loop.now)
        world.check(told >= _DRAIN, TOLD, lambda: f"{told:.3f} s")

    core.on_stop = stopped
    serving = world.start(lifecycle._serve(process.build, cast("Any", guard)), "server")
    await asyncio.sleep(0.01)
    over = cut = 0
    outcomes: list[str] = []

    async def call(method: str, away: float) -> None:
        nonlocal cut
        while not over:
            await asyncio.sleep(away)
            if core.stopped_at is not None and core.stopped_at <= world.loop.now:
                cut += 1
                return
            outcome = await core.serve(method)
            outcomes.append(outcome)
            await asyncio.sleep(away)
            if core.stopped_at is not None or method == _STREAM:
                # The goodbye came before the answer.
                return

    callers = [
        world.start(call(_STREAM if world.chance(0.2) else _UNARY, world.random.uniform(0.0, 0.008)))
        for _ in range(world.random.randint(0, 6))
    ]
    await world.pause(0.0, 0.3)
    told_at = world.loop.now
    guard.stop.set()
    if world.chance(0.2):
        await world.pause(0.0, _DRAIN + _GRACE)
        if not serving.done():
            process.at_once = True
            guard.stop_now.set()
            told_at = world.loop.now
    code = await serving
    took = world.loop.now - told_at
    if process.at_once:
        world.check(code in {EXIT_STOPPED_AT_ONCE, EXIT_OK} and took < 0.5, IN_TIME, lambda: f"{code} in {took:.3f} s")
    else:
        longest = _DRAIN + goodbye._LONGEST_SECONDS + goodbye._QUIET_SECONDS + _GRACE + 2 * process.cleaning + 0.5
        world.check(code == EXIT_OK and took < longest, IN_TIME, lambda: f"{code} in {took:.3f} s")
        late = 2 * process.cleaning > server._ANSWER_SECONDS
        world.check(late or set(outcomes) <= {"OK", "UNAVAILABLE"}, ANSWERED, lambda: f"{outcomes}")
        held_at = told_at + _DRAIN
        quiet = core.stopped_at is not None and core.stopped_at - held_at < goodbye._LONGEST_SECONDS
        world.check(not cut or not quiet, CUT, lambda: f"{cut} of {len(outcomes)}")
        # Were a call left behind, it would find closed what it uses.
        await asyncio.sleep(2 * process.cleaning)
    over = 1
    world.loop.kill_process("server")
    with suppress(asyncio.CancelledError):
        await background.end(callers)


def test_a_drain_answers_all_and_cuts_off_nobody() -> None:
    """Whatever is under way when the signal comes."""
    explore(drains)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the drain is for."""
    found_by(drains, mutant)
