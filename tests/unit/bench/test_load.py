"""The load generator: what it counts, and what it must not hide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.bench.calls import Call
from tests.bench.load import Job, Sample, run
from tests.bench.rounds import percentiles

# Of a load whose time may pass while a busy machine does not let it run.
ATTEMPTS = 10


@dataclass(frozen=True)
class Sleeper:
    """A call that takes ``seconds``; the one numbered ``stalls`` stops the whole process for ``stall`` instead."""

    seconds: float
    stalls: int = -1
    stall: float = 0.0
    fails: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Yield the call."""

        async def call(index: int) -> object:
            if self.fails:
                raise ConnectionError("refused")
            if index == self.stalls:
                import time

                time.sleep(self.stall)  # noqa: ASYNC251 - a server that hangs, hangs for all
            return await asyncio.sleep(self.seconds, "done")

        yield call


@dataclass(frozen=True)
class Listener:
    """A call that notes its number."""

    heard: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Yield the call."""

        async def call(index: int) -> object:
            self.heard.append(index)
            return await asyncio.sleep(0.001, "done")

        yield call


class Crowd:
    """A call of 10 ms that notes how many are in flight."""

    def __init__(self) -> None:
        self.now = self.most = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Yield the call."""

        async def call(_: int) -> object:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return "done"

        yield call


def comes(attempt: Callable[[], bool]) -> bool:
    """Say whether one of several attempts is as it must be."""
    return any(attempt() for _ in range(ATTEMPTS))


def test_closed_loop_keeps_so_many_in_flight() -> None:
    """Calls per second are those in flight over the time that each takes."""

    def all_are_in_flight() -> bool:
        crowd = Crowd()
        sample = run(Job(crowd, in_flight=8, seconds=0.3, warm_up=0.05))
        assert crowd.most <= 8
        assert sample.calls <= 8 * 31
        assert min(sample.latencies, default=1.0) >= 0.009
        is_full = crowd.most == 8 and 0 < sample.calls < sample.all_calls
        return is_full and 0 < sample.processor < 0.35  # what the generator took itself, which is told beside it

    assert comes(all_are_in_flight)


def test_processes_send_requests_of_their_own() -> None:
    """Two that sent the same at a time would get the answer of one query, as few clients do."""

    def are_heard(wanted: list[int]) -> bool:
        listener = Listener()
        run(Job(listener, in_flight=4, seconds=0.05, warm_up=0.0, first=wanted[0], step=2))
        heard = listener.heard[:3]
        assert heard == wanted[: len(heard)]
        return len(heard) == 3

    assert comes(lambda: are_heard([10, 12, 14]))
    assert comes(lambda: are_heard([11, 13, 15]))


def test_failures_are_counted_and_told() -> None:
    """A server that refuses everything does not look fast."""

    def one_is_told() -> bool:
        sample = run(Job(Sleeper(0.0, fails=True), in_flight=1, seconds=0.02, warm_up=0.0))
        assert sample.calls == 0
        assert ("refused" in sample.error) == (sample.errors > 0)
        return sample.errors > 0

    assert comes(one_is_told)


def test_open_loop_counts_the_wait_for_a_stalled_server() -> None:
    """Calls that were due while the server hung are late by as much: no coordinated omission."""

    def all_are_late() -> bool:
        stalled = run(Job(Sleeper(0.0, stalls=50, stall=0.2), in_flight=1, seconds=0.4, warm_up=0.0, rate=500))
        late = [latency for latency in stalled.latencies if latency > 0.05]
        # 100 calls were due within the 200 ms; those of its first 150 ms waited for more than 50.
        return len(late) >= 60 and max(stalled.latencies) >= 0.19

    assert comes(all_are_late)


def test_samples_of_several_processes_add_up() -> None:
    """What two generators measured at the same time is one measurement."""
    one, two = Sample(2, 3, seconds=1.0, processor=0.1), Sample(4, 5, seconds=1.0, processor=0.2)
    one.latencies.extend([0.001, 0.002])
    two.latencies.extend([0.003] * 4)
    one.add(two)
    assert (one.calls, one.all_calls, one.seconds) == (6, 8, 1.0)
    assert one.processor == pytest.approx(0.3)
    assert percentiles(one) == {"50": 3.0, "90": 3.0, "99": 3.0, "99.9": 3.0, "max": 3.0}
