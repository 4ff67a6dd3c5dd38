"""Generates load: a number of calls in flight, or calls at a fixed rate whatever the server does."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections.abc import Awaitable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import uvloop

from tests.bench.calls import Call, Caller

# Calls of an open loop that may wait for an answer before the load is given up as more than the server can take.
MAX_WAITING = 20_000


@dataclass(frozen=True)
class Job:
    """What one process is to do. ``rate`` (calls/s) above 0: an open loop; else ``in_flight`` calls at a time."""

    caller: Caller
    in_flight: int
    seconds: float
    warm_up: float = 0.2
    rate: float = 0.0
    # Which of the requests this process sends: from ``first`` on each ``step``-th.
    first: int = 0
    step: int = 1


@dataclass
class Sample:
    """What came of a job: calls that ended well within the time measured, and how long each took, in seconds.

    ``all_calls`` counts those of the warm-up and those that ended late, too; ``processor``: the time that
    the process itself took for all of them, in seconds.
    """

    calls: int = 0
    all_calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("f"))
    error: str = ""

    def add(self, other: Sample) -> None:
        """Take in what another process measured at the same time."""
        self.calls += other.calls
        self.all_calls += other.all_calls
        self.errors += other.errors
        self.seconds = max(self.seconds, other.seconds)
        self.processor += other.processor
        self.latencies.extend(other.latencies)
        self.error = self.error or other.error


def run(job: Job) -> Sample:
    """Do the job, in an event loop of its own."""
    before = process_time()
    sample = uvloop.run(_run(job))
    sample.processor = process_time() - before
    return sample


def serve(connection: Any) -> None:
    """Do the jobs that come through a pipe, until it closes; what a generator process runs."""
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        connection.send(run(job))


async def _run(job: Job) -> Sample:
    async with job.caller.open() as call:
        measured = Measured(job)
        loop = _open_loop if job.rate else _closed_loop
        await loop(job, call, measured)
        measured.sample.seconds = job.seconds
        return measured.sample


class Measured:
    """Counts what ends between the warm-up and the end."""

    def __init__(self, job: Job) -> None:
        self.sample = Sample()
        self.begin = perf_counter() + job.warm_up
        self.end = self.begin + job.seconds

    async def one(self, call: Awaitable[object], since: float) -> None:
        """Await a call; its latency counts from ``since``, when it should have begun."""
        try:
            await call
        except Exception as error:  # noqa: BLE001 - told by whoever asked for the load
            self.sample.errors += 1
            self.sample.error = repr(error)
            return
        now = perf_counter()
        self.sample.all_calls += 1
        if self.begin <= now < self.end:
            self.sample.calls += 1
            self.sample.latencies.append(now - since)


async def _closed_loop(job: Job, call: Call, measured: Measured) -> None:
    numbers = itertools.count(job.first, job.step)

    async def keep_calling() -> None:
        while (now := perf_counter()) < measured.end:
            await measured.one(call(next(numbers)), now)

    await asyncio.gather(*(keep_calling() for _ in range(job.in_flight)))


async def _open_loop(job: Job, call: Call, measured: Measured) -> None:
    """Begin each call at its time, late or not, and count its latency from then (no coordinated omission)."""
    waiting: set[asyncio.Task[None]] = set()
    begin, end = perf_counter(), measured.end
    measured.end = float("inf")  # what was begun in time counts, however long it takes
    for number in itertools.count():
        due = begin + number / job.rate
        if due >= end:
            break
        if (pause := due - perf_counter()) > 0:
            await asyncio.sleep(pause)
        if len(waiting) >= MAX_WAITING:
            measured.sample.error = "the server cannot take this rate"
            break
        task = asyncio.ensure_future(measured.one(call(job.first + number * job.step), due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
