"""The bounded pool: how much runs, how much waits, and what becomes of callers who leave."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

import pytest
from pydantic import TypeAdapter

from chassis.errors import ShuttingDown
from tests.bench.usage import resident_mib
from tests.harness.patience import until
from users_service.errors import PasswordHashingBusy
from users_service.passwords import frames, pool
from users_service.passwords.cores import MOST, processes_for
from users_service.passwords.memory import MIB, PROCESS_BYTES
from users_service.passwords.pool import HashingFailed, HashingPool
from users_service.settings import Settings

# Takes no time worth speaking of.
QUICK = (frames.HASH, b"8", b"1", b"correct horse")


@pytest.fixture
async def hashing() -> AsyncIterator[HashingPool]:
    """One process, which has answered once, and room for two who wait."""
    made = HashingPool(processes=1, queue=2)
    await made.run(*QUICK)
    yield made
    made.close()


def exists(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def held(of: HashingPool) -> Iterator[None]:
    """Let the processes rest, so that what they are asked for takes until the end."""
    pids = of.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(exists, pids):
            os.kill(pid, signal.SIGCONT)


async def settle() -> None:
    """Let the tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_more_than_may_wait_are_refused(hashing: HashingPool) -> None:
    """With the process taken and the queue full, the next caller is refused at once, with a time to come back."""
    with held(hashing):
        tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(3)]
        await settle()
        assert (hashing.running, hashing.waiting) == (1, 2)
        with pytest.raises(PasswordHashingBusy) as refused:
            await hashing.run(*QUICK)
    assert refused.value.retry_after is not None
    assert all(answer.startswith(b"$argon2id$") for answer in await asyncio.gather(*tasks))
    assert (hashing.running, hashing.waiting) == (0, 0)


async def test_the_queue_is_bounded_where_no_more_processes_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one process at work and no other to be had, no more wait than may."""
    hashing = HashingPool(processes=3, queue=2)
    await hashing.run(*QUICK)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with held(hashing):
        tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(3)]
        await settle()
        assert (hashing.running, hashing.waiting) == (1, 2)
        with pytest.raises(PasswordHashingBusy):
            await hashing.run(*QUICK)
    assert all(answer.startswith(b"$argon2id$") for answer in await asyncio.gather(*tasks))
    hashing.close()


async def test_a_job_shows_no_password() -> None:
    """What is asked and answered is in no text that describes a job: tracebacks and debuggers print such texts."""
    job = pool.Job(b"correct horse", asyncio.get_running_loop().create_future(), memory=0, patience=1.0)
    job.answer.set_result(b"$argon2id$")
    assert "correct" not in repr(job)
    assert "argon2id" not in repr(job)


async def test_room_is_told_beforehand(hashing: HashingPool) -> None:
    """A caller can learn that it would be refused before it does what it cannot undo."""
    hashing.ensure_room()
    with held(hashing):
        tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(3)]
        await settle()
        with pytest.raises(PasswordHashingBusy):
            hashing.ensure_room()
    await asyncio.gather(*tasks)
    hashing.ensure_room()


async def test_a_cancelled_waiter_gives_its_place_free(hashing: HashingPool) -> None:
    """Who leaves the queue makes room for another, and those who stay are served."""
    with held(hashing):
        running, leaving, staying = (asyncio.create_task(hashing.run(*QUICK)) for _ in range(3))
        await settle()
        leaving.cancel()
        await settle()
        assert hashing.waiting == 1
        late = asyncio.create_task(hashing.run(*QUICK))
        await settle()
        assert hashing.waiting == 2
    await asyncio.gather(running, staying, late)
    assert leaving.cancelled()


async def test_a_cancelled_caller_does_not_free_a_busy_process(hashing: HashingPool) -> None:
    """A hash that has begun holds its process to the end, and its answer goes to nobody else."""
    with held(hashing):
        leaving = asyncio.create_task(hashing.run(*QUICK))
        await settle()
        leaving.cancel()
        await settle()
        assert leaving.cancelled()
        following = asyncio.create_task(hashing.run(frames.VERIFY, b"unknown", b"correct horse"))
        await settle()
        assert (hashing.running, hashing.waiting) == (1, 1)
    assert await following == b""


async def test_callers_who_come_and_go_leave_nothing_behind() -> None:
    """After many callers, most of them cancelled at any time, the pool is empty and answers."""
    hashing, choose = HashingPool(processes=2, queue=1_000), random.Random(1)
    tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(400)]
    for task in choose.sample(tasks, 300):
        await asyncio.sleep(choose.choice((0, 0, 0.0005)))
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in done} <= {bytes, asyncio.CancelledError}
    assert sum(isinstance(each, bytes) for each in done) >= 100
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")
    # A hash that has begun goes on without its caller, beside the last one.
    await until(lambda: not hashing.running, "the hash that has begun")
    assert hashing.waiting == 0
    hashing.close()


async def test_an_error_reaches_its_caller_alone(hashing: HashingPool) -> None:
    """A hash that fails fails one call, without a word of what was hashed, and the process serves on."""
    before = hashing.pids
    with pytest.raises(HashingFailed, match=r"^ValueError$"):
        await hashing.run(frames.HASH, b"7", b"1", b"correct horse")
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")
    assert hashing.pids == before


async def test_processes_are_started_when_all_are_busy() -> None:
    """There is none before the first password, one while passwords come one by one, and never more than may be."""
    hashing = HashingPool(processes=2, queue=8)
    assert hashing.pids == []
    for _ in range(3):
        await hashing.run(*QUICK)
    assert len(hashing.pids) == 1
    with held(hashing):
        tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(4)]
        await settle()
        assert len(hashing.pids) == 2
    await asyncio.gather(*tasks)
    hashing.close()


async def test_processes_that_died_at_rest_are_not_held_against_a_request() -> None:
    """After all of them were killed, as where memory is short, the next password is hashed, and not refused."""
    hashing = HashingPool(processes=3, queue=8)
    await asyncio.gather(*(hashing.run(*QUICK) for _ in range(3)))
    for pid in hashing.pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop is to have no turn meanwhile
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")
    hashing.close()


async def test_processes_that_are_not_needed_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rush all but one process end, and that one answers."""
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    hashing = HashingPool(processes=3, queue=8)
    tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(3)]
    # All ask in one turn of the loop; from the next on processes may answer, and then end.
    await asyncio.sleep(0)
    rush = hashing.pids
    assert len(rush) == 3
    await asyncio.gather(*tasks)
    await until(lambda: len(hashing.pids) == 1, "the end of the others")
    await hashing.run(*QUICK)
    assert set(hashing.pids) < set(rush)
    hashing.close()


async def test_one_process_stays_however_long_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next password is hashed at once, even where all processes have lain idle for as long."""
    hashing = HashingPool(processes=3, queue=8)
    await asyncio.gather(*(hashing.run(*QUICK) for _ in range(3)))
    monkeypatch.setattr(pool, "IDLE_SECONDS", -1.0)
    hashing._retire()
    assert len(hashing.pids) == 1
    hashing.close()


async def test_close_ends_every_process_and_every_wait() -> None:
    """Nothing is left of a pool that was closed in the midst of work, and it takes no more."""
    hashing = HashingPool(processes=2, queue=8)
    await asyncio.gather(*(hashing.run(*QUICK) for _ in range(2)))
    pids = hashing.pids
    with held(hashing):
        tasks = [asyncio.create_task(hashing.run(*QUICK)) for _ in range(4)]
        await settle()
        hashing.close()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert [pid for pid in pids if exists(pid)] == []
    with pytest.raises(ShuttingDown):
        await hashing.run(*QUICK)


async def test_hashes_wait_for_memory_in_their_order() -> None:
    """What does not fit beside those at work waits, and nobody who came later overtakes it."""
    hashing = HashingPool(processes=4, queue=8, memory=3 * PROCESS_BYTES + 100 * MIB)
    begun: list[str] = []

    async def hash_of(name: str, mib: int) -> None:
        await hashing.run(*QUICK, memory=mib * MIB)
        begun.append(name)

    await hashing.run(*QUICK)
    with held(hashing):
        sizes = {"small": 40, "dear": 80, "late": 10}
        tasks = [asyncio.create_task(hash_of(name, mib)) for name, mib in sizes.items()]
        await settle()
        assert (hashing.running, hashing.waiting) == (1, 2)
        assert hashing.memory <= 3 * PROCESS_BYTES + 100 * MIB
    await asyncio.gather(*tasks)
    assert begun[0] == "small"
    assert sorted(begun) == sorted(sizes)
    hashing.close()


@pytest.mark.long
async def test_two_dear_hashes_are_never_at_work_at_once() -> None:
    """At the limit of an import (256 MiB), two take turns where the memory is for one: their processes show it."""
    dear = b"$argon2id$v=19$m=262144,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"
    hashing = HashingPool(processes=2, queue=8, memory=300 * MIB)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, sum(map(resident, hashing.pids)))
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(hashing.run(frames.VERIFY, dear, b"guess", memory=256 * MIB) for _ in range(4)))
    watching.cancel()
    assert 200 * MIB < most < 400 * MIB
    hashing.close()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has; 0 where it is gone."""
    try:
        return int(resident_mib(pid) * MIB)
    except OSError:
        return 0


async def test_a_caller_who_leaves_lets_those_behind_pass() -> None:
    """Once the hash that nothing was free for is not wanted any more, smaller ones behind it begin."""
    hashing = HashingPool(processes=3, queue=8, memory=3 * PROCESS_BYTES + 100 * MIB)
    await hashing.run(*QUICK)
    with held(hashing):
        first = asyncio.create_task(hashing.run(*QUICK, memory=40 * MIB))
        dear = asyncio.create_task(hashing.run(*QUICK, memory=90 * MIB))
        behind = asyncio.create_task(hashing.run(*QUICK, memory=10 * MIB))
        await settle()
        assert (hashing.running, hashing.waiting) == (1, 2)
        dear.cancel()
        await settle()
        assert (hashing.running, hashing.waiting) == (2, 0)
        await behind
    await first
    hashing.close()


async def test_idle_processes_make_room() -> None:
    """A hash does not wait for the memory of processes that do nothing: they end."""
    hashing = HashingPool(processes=3, queue=8, memory=4 * PROCESS_BYTES)
    await asyncio.gather(*(hashing.run(*QUICK) for _ in range(3)))
    assert len(hashing.pids) == 3
    await hashing.run(*QUICK, memory=3 * PROCESS_BYTES)
    assert len(hashing.pids) == 1
    hashing.close()


async def test_a_hash_larger_than_all_memory_runs_alone() -> None:
    """Nothing waits for ever: what fits nowhere begins when nothing else is at work."""
    hashing = HashingPool(processes=2, queue=8, memory=PROCESS_BYTES)
    await asyncio.gather(*(hashing.run(*QUICK, memory=MIB) for _ in range(4)))
    hashing.close()


@pytest.mark.parametrize(("workers", "expected"), [(1, 8), (2, 8), (3, 6), (4, 4), (8, 2), (32, 1)])
def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch, workers: int, expected: int) -> None:
    """Each worker may use twice its share of the cores, and never more than there are, unless a number is set."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processes_for(0, workers) == expected
    assert processes_for(3, workers) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_many_cores_make_no_number_that_cannot_be_set(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """What workers are told is a setting of theirs, which has a limit; 128 cores may be beyond it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    limits = Settings.model_fields["argon2_threads"]
    assert TypeAdapter(Annotated[int, limits]).validate_python(processes_for(0, workers)) == MOST
