"""The pool of hashing processes: bounded in number and memory, with a bounded queue, and started when they are needed.

libsodium maps memory anew for each hash, and threads of one process would wait for each other there; processes do not.
Nor do processes hold the interpreter lock of the event loop, or take more memory bandwidth than their share.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

from chassis.errors import ShuttingDown
from chassis.logs import logging
from users_service.errors import PasswordHashingBusy, PasswordHashingUnavailable
from users_service.passwords import frames
from users_service.passwords.child import Child, Listener
from users_service.passwords.memory import PROCESS_BYTES

# A process that is idle for longer ends, unless it is the only one.
IDLE_SECONDS: Final = 60.0
# Seconds that a process has for a hash.
PATIENCE: Final = 10.0
# A process may die of its request; if a second one does, too, every process would.
ATTEMPTS: Final = 2

log = logging.get("users_service.passwords")


class HashingFailed(Exception):
    """A hash could not be computed, because of a defect; the text is the name of the error, and no password."""


@dataclass(eq=False, slots=True)
class Job:
    """A request and the future of its answer; ``attempts``: how many processes were asked."""

    request: bytes = field(repr=False)
    answer: asyncio.Future[bytes] = field(repr=False)
    # Bytes that the hash takes, and seconds that a process has for it.
    memory: int
    patience: float
    attempts: int = 0


class HashingPool:
    """A bounded number of processes with a bounded queue, for one event loop."""

    def __init__(self, processes: int, queue: int, *, memory: float = inf) -> None:
        """``processes``: at most; ``queue``: how many may wait for one.

        ``memory``: bytes that all processes may take together. A hash that does not fit beside those at work waits for
        them, and who came later waits behind it.
        """
        self.limit = processes
        self.queue = queue
        self._memory = memory
        self._listener = Listener(self._answered, self._ended, self._reaped)
        self._idle: list[Child] = []
        self._busy: dict[Child, Job] = {}
        self._ending: set[Child] = set()
        self._waiting: deque[Job] = deque()
        self._retiring: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def running(self) -> int:
        """How many processes are at work now."""
        return len(self._busy)

    @property
    def waiting(self) -> int:
        """How many callers wait for a process now."""
        return len(self._waiting)

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [child.pid for child in (*self._idle, *self._busy)]

    def ensure_room(self) -> None:
        """Raise PasswordHashingBusy where ``run`` would, so that a caller can find out before it acts."""
        # Callers wait only where no process is free and none can be started, which may be below the limit.
        if len(self._waiting) >= self.queue:
            raise PasswordHashingBusy

    @property
    def memory(self) -> int:
        """Bytes that the processes take now."""
        processes = (len(self._idle) + len(self._busy)) * PROCESS_BYTES
        return processes + sum(job.memory for job in self._busy.values())

    async def run(self, *request: bytes, memory: int = 0, patience: float = PATIENCE) -> bytes:
        """Return the answer of a process.

        ``memory``: bytes that the hash takes; ``patience``: seconds after which a process that is at it is replaced.

        Raises PasswordHashingBusy when too many wait, PasswordHashingUnavailable when no process could be started or
        two have died, HashingFailed, and ShuttingDown after ``close``. A caller that is cancelled while it waits leaves
        the queue at once. A hash that has begun is not stopped, so its process stays busy until it ends.
        """
        if self._closed:
            raise ShuttingDown
        self.ensure_room()
        job = Job(frames.pack(*request), asyncio.get_running_loop().create_future(), memory, patience)
        self._waiting.append(job)
        self._begin_waiting()
        try:
            return _result(await job.answer)
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(job)
                # It may have been too large for what was free, and those behind it are not.
                self._begin_waiting()
            raise

    def close(self) -> None:
        """End all processes, whatever they are doing, and wait for them; callers that wait are cancelled."""
        self._closed = True
        if self._retiring is not None:
            self._retiring.cancel()
        for job in (*self._busy.values(), *self._waiting):
            job.answer.cancel()
        children = (*self._idle, *self._busy, *self._ending)
        for child in children:
            child.kill()
        for child in children:
            child.wait()
        self._idle, self._busy, self._ending, self._waiting = [], {}, set(), deque()

    def _begin_waiting(self) -> None:
        """Give the requests that have waited longest to idle processes, or to new ones, while there is room."""
        while self._waiting and self._has_room(self._waiting[0]):
            if not self._begin(self._waiting.popleft()):
                return

    def _has_room(self, job: Job) -> bool:
        if len(self._busy) >= self.limit:
            return False
        # Processes that rest end before a hash has to wait for their memory.
        while len(self._idle) > 1 and not self._fits(job):
            self._idle[0].end()
        # One hash is always at work: what cannot be borne alone is refused before it comes here.
        return self._fits(job) or not self._busy

    def _fits(self, job: Job) -> bool:
        another = 0 if self._idle else PROCESS_BYTES
        return self.memory + another + job.memory <= self._memory

    def _begin(self, job: Job) -> bool:
        is_new = not self._idle
        try:
            child = Child(self._listener) if is_new else self._idle.pop()
        except OSError as error:
            self._not_started(job, error)
            return False
        self._busy[child] = job
        # One that died while it was idle, as by the system's want of memory, says nothing of this request.
        if child.ask(job.request, job.patience) or is_new:
            job.attempts += 1
        return True

    def _not_started(self, job: Job, error: OSError) -> None:
        log.error("no process to hash passwords in could be started", error=os.strerror(error.errno or 0))
        self._waiting.appendleft(job)
        if self._busy:
            # A busy process will take it when it is done.
            return
        while self._waiting:
            _fail(self._waiting.popleft())

    def _answered(self, child: Child, body: bytes) -> None:
        job = self._busy.pop(child)
        if not job.answer.done():
            job.answer.set_result(body)
        child.idle_since = asyncio.get_running_loop().time()
        self._idle.append(child)
        self._begin_waiting()
        if self._retiring is None and len(self._idle) > 1:
            self._retire_later()

    def _ended(self, child: Child) -> None:
        self._ending.add(child)
        job = self._busy.pop(child, None)
        if job is None:
            self._idle.remove(child)
            return
        log.warning("a process that hashed a password died", attempts=job.attempts)
        if not job.answer.done() and job.attempts < ATTEMPTS:
            self._begin(job)
            return
        _fail(job)
        self._begin_waiting()

    def _reaped(self, child: Child) -> None:
        self._ending.discard(child)

    def _retire_later(self) -> None:
        self._retiring = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire)

    def _retire(self) -> None:
        """End processes that were idle for too long. They are the first ones, because the last one is asked first."""
        self._retiring = None
        before = asyncio.get_running_loop().time() - IDLE_SECONDS
        for child in [child for child in self._idle if child.idle_since <= before]:
            if len(self._idle) + len(self._busy) > 1:
                child.end()
        if len(self._idle) > 1:
            self._retire_later()


def _result(body: bytes) -> bytes:
    how, found = frames.unpack(body)
    if how == frames.DONE:
        return found
    if found == b"MemoryError":
        raise PasswordHashingUnavailable
    raise HashingFailed(found.decode())


def _fail(job: Job) -> None:
    if not job.answer.done():
        job.answer.set_exception(PasswordHashingUnavailable())
