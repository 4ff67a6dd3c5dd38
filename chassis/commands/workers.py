"""Worker processes: several of one service on one port, started, restarted when they die, and ended together.

Each worker is a whole server in a process of its own, started anew: gRPC does not survive a fork. All listen on the
same port with SO_REUSEPORT, and the kernel spreads connections among them. Connections have a maximum age, so that
clients reconnect and spread anew (docs/decisions/0045-workers.md).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chassis.logs import logging
from chassis.serving import plaintext, ports
from chassis.serving.guard import EXIT_STOPPED_AT_ONCE, SIGNALS, Guard
from chassis.serving.transports import choice
from chassis.settings import EXIT_BAD_SETTING, ServerSettings, WrongSetting
from chassis.telemetry.endpoint import INHERITED, MetricsPortTaken
from chassis.telemetry.of_workers import WorkerMetrics

EXIT_GIVEN_UP: Final = 1
# A worker that lived longer than this had started well: whatever ended it was not its start.
STARTED_AFTER_SECONDS: Final = 10.0
# After so many failed starts in a row the service is given up.
GIVE_UP_AFTER: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
# Workers are killed so long after the drain and the grace that their settings give them.
KILL_AFTER_SECONDS: Final = 4.5
# This process, which waits for them, is ended so much later.
_OWN_SECONDS: Final = 0.2
# After a second signal the workers have so long to end by themselves.
_AT_ONCE_SECONDS: Final = 0.8
# Without a maximum age a client would stay with the worker that its first connection reached.
CONNECTION_AGE_MS: Final = 300_000

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)

log = logging.get("chassis.commands.workers")


def count_of(workers: str) -> int:
    """Return how many workers ``--workers`` asks for: a number from 1, or ``auto``, one per core that we may use.

    Raises ValueError.
    """
    if workers == "auto":
        return len(os.sched_getaffinity(0))
    number = int(workers)
    if number < 1:
        raise ValueError("at least one worker")
    return number


def serve(command: Sequence[str], count: int, settings: ServerSettings, own: Mapping[str, str]) -> int:
    """Run ``count`` processes of ``command`` until SIGTERM or SIGINT, and return the exit code.

    ``own``: variables that they get on top of ours.
    0 after all have drained; 2 when a setting is wrong; 1 when the port is taken or workers die again and again; 130
    after a second signal.
    """
    shared = settings.grpc_so_reuseport
    try:
        choice.check(settings)
        plaintext.check(settings)
    except WrongSetting as error:
        sys.stderr.write(f"wrong setting: {error}\n")
        return EXIT_BAD_SETTING
    try:
        reserved = ports.reserve(settings.grpc_host, settings.grpc_port, shared=shared)
    except OSError:
        address = ports.address(settings.grpc_host, settings.grpc_port)
        return _fail(f"cannot listen on {address}: the port is taken or not ours")
    patience = (settings.grpc_drain_ms + settings.grpc_grace_ms) / 1000 + KILL_AFTER_SECONDS
    # Started first: signals are received, and the workers end, even if this process hangs later.
    guard = Guard(patience + _OWN_SECONDS)
    guard.start()
    sink = logging.configure(settings.log_level, settings.log_format)
    guard.flush = sink.flush
    with reserved:
        environment = {**worker_environment(settings, reserved.getsockname()[1]), **own}
        try:
            with WorkerMetrics(settings.metrics_host, settings.metrics_port, count, shared=shared) as metrics:
                return asyncio.run(Supervisor(command, environment, count, patience, metrics, guard).run())
        except MetricsPortTaken as error:
            return _fail(str(error))
        finally:
            guard.detach()
            sink.flush()


def _fail(text: str) -> int:
    sys.stderr.write(f"cannot start: {text}\n")
    return EXIT_GIVEN_UP


def worker_environment(settings: ServerSettings, port: int) -> dict[str, str]:
    """Return the environment of a worker: ours, with a shared port, and a connection age where none is set."""
    shared = {"GRPC_PORT": str(port), "GRPC_SO_REUSEPORT": "true"}
    if choice.ages(settings):
        shared["GRPC_MAX_CONNECTION_AGE_MS"] = str(settings.grpc_max_connection_age_ms or CONNECTION_AGE_MS)
    return {**os.environ, **shared}


@dataclass
class Supervisor:
    """Keeps ``count`` processes of a command running."""

    command: Sequence[str]
    environment: Mapping[str, str]
    count: int
    # Seconds from the signal to the kill.
    patience: float
    # Reads the metrics of all workers, each by a socket that it inherits.
    metrics: WorkerMetrics
    # Hears the signals.
    guard: Guard
    _running: set[asyncio.subprocess.Process] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _exit: int = 0
    _early_deaths: int = 0

    async def run(self) -> int:
        """Start the workers, keep them, and return the exit code once all have ended."""
        self.guard.attach()
        log.info("starting workers", count=self.count, port=self.environment["GRPC_PORT"])
        async with self.metrics.served(), asyncio.TaskGroup() as group:
            workers = [group.create_task(self._keep(place)) for place in range(self.count)]
            group.create_task(self._kill_late(workers))
            hearing = group.create_task(self._hear())
            await asyncio.wait(workers)
            hearing.cancel()
        return self._exit

    async def _keep(self, place: int) -> None:
        """Run one worker, and start another in its place when it dies, until the service stops."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run_one(place)
            if self._stopping.is_set():
                return
            lived = time.monotonic() - started
            pause = FIRST_PAUSE_SECONDS if lived > STARTED_AFTER_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            self._count_death(code, lived)
            if not self._stopping.is_set():
                log.warning("a worker died; starting another one", ended_by=_words(code), pause_seconds=pause)
                self.metrics.restarts[place] += 1
                await self._sleep(pause)

    async def _run_one(self, place: int) -> int:
        inherited = self.metrics.inherited(place)
        own = {"METRICS_HOST": f"{INHERITED}{inherited[0]}"} if inherited else {}
        # In a group of its own: Ctrl-C in a terminal goes to this process alone, which passes it on once.
        process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**self.environment, **own},
            pass_fds=inherited,
            preexec_fn=_end_with_parent(os.getpid()),
            process_group=0,
        )
        self._running.add(process)
        if self._stopping.is_set():  # the signal came while it was being started
            process.terminate()
        try:
            return await process.wait()
        finally:
            self._running.discard(process)

    def _count_death(self, code: int, lived: float) -> None:
        self._early_deaths = 0 if lived > STARTED_AFTER_SECONDS else self._early_deaths + 1
        if code == EXIT_BAD_SETTING:
            self._give_up(EXIT_BAD_SETTING)
        elif self._early_deaths >= GIVE_UP_AFTER * self.count:
            log.error("workers die as soon as they start; giving up")
            self._give_up(EXIT_GIVEN_UP)

    async def _hear(self) -> None:
        """Pass the signals on; a second one ends the drain of every worker, as it does without workers."""
        await self.guard.stop.wait()
        self._tell()
        await self.guard.stop_now.wait()
        self._exit = EXIT_STOPPED_AT_ONCE
        self._tell()
        await asyncio.sleep(_AT_ONCE_SECONDS)
        for process in self._running:
            process.kill()

    def _give_up(self, code: int) -> None:
        self._exit = code
        self._tell()

    def _tell(self) -> None:
        self._stopping.set()
        for process in self._running:
            process.terminate()

    async def _kill_late(self, workers: Sequence[asyncio.Task[None]]) -> None:
        await self._stopping.wait()
        _, late = await asyncio.wait(workers, timeout=self.patience)
        if late:
            log.error("workers did not end in time; killing them", count=len(self._running))
            self._exit = self._exit or EXIT_GIVEN_UP
        for process in self._running:
            process.kill()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_with_parent(parent: int) -> Callable[[], None]:
    """Return a function that has the kernel kill a new process when its parent is gone, for whatever reason (Linux).

    The function runs between fork and exec, so it must import and load nothing.
    """

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the kernel was asked
                os._exit(EXIT_GIVEN_UP)

    return prepare
