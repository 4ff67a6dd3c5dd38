"""The hashing pool over processes that a test makes up: they answer late, in pieces, die, hang, or do not start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN
from typing import Any, Self

import pytest

from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import ENDS, explore, found_by
from tests.harness.simulation.world import World
from users_service.errors import PasswordHashingBusy, PasswordHashingUnavailable
from users_service.passwords import child, frames
from users_service.passwords.child import Child
from users_service.passwords.memory import MIB, PROCESS_BYTES
from users_service.passwords.pool import ATTEMPTS, IDLE_SECONDS, HashingPool

OWN = "a caller gets the answer to what it asked"
AGAIN = "a caller whose process died is served by another, and is only turned away where two died or none starts"
BOUNDED = "no more processes are at work, no more memory is taken and no more callers wait than may"
LEFT = "nothing is hashed for a caller who has left while it waited"
FREED = "nothing is busy, and nobody waits, once all callers have been answered or have left"
REAPED = "every process that has ended is waited for, and none is left after the close"

MUTANTS = (
    Mutant(OWN, HashingPool, "_answered", "self._busy.pop(child)", "self._busy.pop(next(iter(self._busy)))"),
    Mutant(AGAIN, HashingPool, "_ended", "job.attempts < ATTEMPTS", "False"),
    Mutant(
        AGAIN,
        HashingPool,
        "_begin",
        "child.ask(job.request, job.patience) or is_new",
        "(child.ask(job.request, job.patience), True)",
    ),
    Mutant(ENDS, HashingPool, "_ended", "_fail(job)\n", "pass\n"),
    Mutant(ENDS, HashingPool, "_answered", "self._begin_waiting()", "pass"),
    Mutant(ENDS, Child, "ask", "self._deadline = self._loop.call_later(patience, self.end)", "pass"),
    Mutant(BOUNDED, HashingPool, "_has_room", "if len(self._busy) >= self.limit:", "if False:"),
    Mutant(BOUNDED, HashingPool, "_has_room", "self._fits(job) or not self._busy", "True"),
    Mutant(BOUNDED, HashingPool, "run", "self.ensure_room()", "pass"),
    Mutant(FREED, HashingPool, "_ended", "job = self._busy.pop(child, None)", "job = self._busy.get(child)"),
    Mutant(LEFT, HashingPool, "run", "self._waiting.remove(job)", "pass"),
    Mutant(REAPED, Child, "_reap", "self._loop.call_later(REAP_AGAIN_SECONDS, self._reap)", "pass"),
    Mutant(REAPED, HashingPool, "_retire", "if len(self._idle) + len(self._busy) > 1:", "if False:"),
)

_PATIENCE = 5.0
# By the virtual clock.
_LONGEST_SECONDS = 60.0


class Machine:
    """Starts the made-up processes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.processes: list[Process] = []
        # How many processes have died of each request.
        self.deaths: dict[bytes, int] = {}
        self.starts_failed = 0
        self.begun: set[bytes] = set()
        self.left: set[bytes] = set()

    @property
    def alive(self) -> int:
        """How many have not been waited for."""
        return sum(not process.reaped for process in self.processes)

    def start(self, stream: Stream) -> Process:
        """Start a process at the other end of a stream, if the system has room for it."""
        if self.world.chance(self.world.trouble / 3):
            self.starts_failed += 1
            raise OSError(EAGAIN, "no more processes")
        process = Process(self, stream.other)
        stream.other.process = process
        self.processes.append(process)
        return process


class Process:
    """A hashing process, and what ``subprocess`` tells of it; ``stream``: the service's end."""

    def __init__(self, machine: Machine, stream: Stream) -> None:
        self.machine, self.world, self.stream = machine, machine.world, stream
        self.pid = len(machine.processes) + 1
        self.dead = self.reaped = False
        self.request: bytes | None = None

    def asked(self, request: bytes) -> None:
        """Work on a request: answer it in one piece or two, hang, or die."""
        self.request = request
        self.machine.begun.add(request)
        self.world.check(request not in self.machine.left, LEFT, lambda: f"{request!r}")
        fate = self.world.random.random() if self.world.trouble else 1.0
        if fate < 0.1:
            return
        with self.world.loop.process(None):
            if fate < 0.1 + self.world.trouble:
                self.world.loop.call_later(self.world.random.uniform(0.0, 0.2), self.die)
                return
            answer = frames.pack(frames.DONE, b"of " + frames.unpack(request[frames.LENGTH_BYTES :])[0])
            cut = self.world.random.randint(0, len(answer))
            at = self.world.random.uniform(0.001, 0.2)
            for part in filter(None, (answer[:cut], answer[cut:])):
                self.world.loop.call_later(at, self._tell, part)
                at += self.world.random.uniform(0.0, 0.01)

    def _tell(self, part: bytes) -> None:
        if not self.dead:
            self.stream.arrived += part
            self.world.loop.readable(self.stream)

    def die(self) -> None:
        """End, with what it was asked for."""
        if self.dead:
            return
        if self.request is not None:
            self.machine.deaths[self.request] = self.machine.deaths.get(self.request, 0) + 1
        self.dead = True
        self.world.loop.readable(self.stream)

    def kill(self) -> None:
        """End at once; an end for want of patience is a death of the request, too."""
        self.die()

    def poll(self) -> int | None:
        """Say whether it is gone, which takes a moment."""
        if self.dead and self.world.chance(0.5):
            self.reaped = True
            return -9
        return None

    def wait(self, _: float) -> None:
        """Wait for its end."""
        self.reaped = True


class Stream:
    """One end of a pair of sockets."""

    other: Stream
    process: Process | None = None

    def __init__(self) -> None:
        self.arrived = b""
        self.closed = False

    def setblocking(self, _: bool) -> None:
        """Nothing here blocks."""

    def send(self, request: bytes) -> None:
        """Reach the process, if it lives."""
        if self.process is None or self.process.dead:
            raise BrokenPipeError
        self.process.asked(request)

    def recv(self, _: int) -> bytes:
        """Return what has arrived; nothing: the process is gone."""
        if not self.arrived and self.process is not None and not self.process.dead:
            raise BlockingIOError
        arrived, self.arrived = self.arrived, b""
        return arrived

    def close(self) -> None:
        """Close this end."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair() -> tuple[Stream, Stream]:
    ours, theirs = Stream(), Stream()
    ours.other, theirs.other = theirs, ours
    return ours, theirs


@contextmanager
def _on(machine: Machine) -> Iterator[None]:
    """Start hashing processes on a made-up machine."""

    class Sockets:
        socketpair = staticmethod(_pair)

    module: Any = child
    real = module.socket, module._start
    module.socket, module._start = Sockets, machine.start
    try:
        yield
    finally:
        module.socket, module._start = real


async def hashing(world: World) -> None:
    """Let callers come and leave, and processes die, and close the pool at the end or in the midst of it."""
    machine = Machine(world)
    with _on(machine):
        await _hashing(world, machine)


async def _hashing(world: World, machine: Machine) -> None:
    limit, queue = world.random.randint(1, 3), world.random.randint(0, 20)
    memory = world.random.choice((float("inf"), limit * PROCESS_BYTES + 100 * MIB))
    hashes = HashingPool(limit, queue, memory=memory)
    left: set[int] = set()

    def bounded() -> None:
        taken, alone = hashes.memory, len(hashes._busy) <= 1
        world.check(hashes.running <= limit, BOUNDED, lambda: f"{hashes.running} at work")
        world.check(taken <= memory or alone, BOUNDED, lambda: f"{taken} of {memory} bytes")
        # Those whose processes died are put back where none starts, however many wait.
        world.check(hashes.waiting <= queue + limit, BOUNDED, lambda: f"{hashes.waiting} wait")

    async def call(number: int) -> None:
        await world.pause(0.0, 0.5)
        request = b"%d" % number
        try:
            answer = await hashes.run(request, memory=world.random.choice((10, 60, 90)) * MIB, patience=_PATIENCE)
        except asyncio.CancelledError:
            world.check(number in left, ENDS, lambda: "a caller was cancelled who had not left")
            machine.left |= {frames.pack(request)} - machine.begun
        except PasswordHashingBusy:
            pass
        except PasswordHashingUnavailable:
            died = machine.deaths.get(frames.pack(request), 0)
            why = f"{died} processes died of it, and {machine.starts_failed} did not start"
            world.check(died >= ATTEMPTS or machine.starts_failed, AGAIN, lambda: why)
        else:
            world.check(answer == b"of " + request, OWN, lambda: f"{answer!r} for {request!r}")
        bounded()

    callers = [world.start(call(number)) for number in range(world.random.randint(1, 25))]
    for number, caller in enumerate(callers):
        if world.chance(0.2):
            await world.pause(0.0, 0.05)
            left.add(number)
            caller.cancel()
            bounded()
        if world.trouble and world.chance(0.05):
            for process in machine.processes:
                process.die()
    await asyncio.wait(callers, timeout=_LONGEST_SECONDS)
    world.check(all(caller.done() for caller in callers), ENDS, lambda: "callers wait still")
    # Hashes that have begun go on without their callers.
    await asyncio.sleep(ATTEMPTS * _PATIENCE)
    world.check(not hashes.running and not hashes.waiting, FREED, lambda: f"{hashes.running}, {hashes.waiting} wait")
    await asyncio.sleep(2 * IDLE_SECONDS + 1.0)
    world.check(machine.alive <= 1 and len(hashes.pids) <= 1, REAPED, lambda: f"{machine.alive} are left at rest")
    hashes.close()
    await asyncio.sleep(1.0)
    world.check(not machine.alive, REAPED, lambda: f"{machine.alive} are left")


def test_callers_are_served_whatever_becomes_of_the_processes() -> None:
    """Whoever comes, leaves or dies."""
    explore(hashing)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the pool is for."""
    found_by(hashing, mutant)
