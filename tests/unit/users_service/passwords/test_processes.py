"""The processes that hash: what they know, what they heed, and what becomes of calls when they die."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.patience import PATIENCE_SECONDS, until
from users_service.errors import PasswordHashingUnavailable
from users_service.passwords import child, frames, pool
from users_service.passwords.pool import HashingPool

QUICK = (frames.HASH, b"8", b"1", b"correct horse")
USUAL = (frames.HASH, b"19456", b"2", b"correct horse")


@pytest.fixture
async def hashing() -> AsyncIterator[HashingPool]:
    """Three processes at most."""
    made = HashingPool(processes=3, queue=100)
    yield made
    made.close()


def text_of(pid: int, name: str) -> str:
    """Return what the kernel tells of a process."""
    return Path(f"/proc/{pid}/{name}").read_text()


def exists(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


async def end_of(pid: int) -> None:
    """Wait until a process is gone."""
    await until(lambda: not exists(pid), "the end of a process")


class Resting(child.Child):
    """A process that rests from its start, so that what it is asked takes until somebody kills it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        os.kill(self.pid, signal.SIGSTOP)


async def test_a_process_that_is_killed_fails_nobody(hashing: HashingPool) -> None:
    """Of many hashes under way none fails when processes are killed in their midst, and no process is left dead."""
    tasks = [asyncio.create_task(hashing.run(*USUAL)) for _ in range(40)]
    await asyncio.sleep(0)
    killed = hashing.pids
    assert len(killed) == 3
    for number, pid in enumerate(killed, 1):
        # All of them have work then, and more of it waits.
        await until(lambda: sum(task.done() for task in tasks) >= 5 * number, "answers")  # noqa: B023 - waits here
        os.kill(pid, signal.SIGKILL)
    assert all(answer.startswith(b"$argon2id$") for answer in await asyncio.gather(*tasks))
    for pid in killed:
        await end_of(pid)
    assert len(hashing.pids) == 3


async def test_an_idle_process_that_is_killed_fails_nobody(hashing: HashingPool) -> None:
    """Whether or not its end was noticed yet, the next password is hashed by another."""
    for _ in range(5):
        await hashing.run(*QUICK)
        os.kill(hashing.pids[0], signal.SIGKILL)
        assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")


async def test_a_hash_that_kills_two_processes_is_given_up(
    hashing: HashingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told to come back, and others are served."""
    with monkeypatch.context() as resting:
        resting.setattr(pool, "Child", Resting)
        call = asyncio.create_task(hashing.run(*USUAL))
        await asyncio.sleep(0)
        (first,) = hashing.pids
        os.kill(first, signal.SIGKILL)
        await until(lambda: hashing.pids not in ([], [first]), "the second process")
        os.kill(hashing.pids[0], signal.SIGKILL)
        with pytest.raises(PasswordHashingUnavailable) as failed:
            await call
    assert failed.value.retry_after is not None
    assert hashing.running == 0
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")


async def test_a_process_that_hangs_is_replaced() -> None:
    """A process that does not answer in time is killed, and another one answers."""
    hashing = HashingPool(processes=1, queue=1)
    await hashing.run(*QUICK)
    (stuck,) = hashing.pids
    os.kill(stuck, signal.SIGSTOP)
    call = asyncio.create_task(hashing.run(*QUICK, patience=0.1))
    await asyncio.sleep(0)
    # Little patience is for the one that never answers: the other may take its time to start.
    (job,) = hashing._busy.values()
    job.patience = PATIENCE_SECONDS
    assert (await call).startswith(b"$argon2id$")
    await end_of(stuck)
    hashing.close()


async def test_a_process_that_cannot_be_started_is_told(hashing: HashingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers get an error that says what is away, those who wait as well, until processes can be started again."""
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(PasswordHashingUnavailable):
            await hashing.run(*QUICK)
    assert (hashing.running, hashing.waiting) == (0, 0)
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")


async def test_a_hash_waits_for_others_where_no_more_processes_start(
    hashing: HashingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one process at work and no other to be had, all is hashed by the one."""
    await hashing.run(*QUICK)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    answers = await asyncio.gather(*(hashing.run(*USUAL) for _ in range(5)))
    assert all(answer.startswith(b"$argon2id$") for answer in answers)
    assert len(hashing.pids) == 1


async def test_a_program_that_ends_at_once_is_told(
    hashing: HashingPool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program that does not run is tried twice for a call, and says on stderr what is wrong with it."""
    monkeypatch.setattr(child, "PROGRAM", "users_service.passwords.missing")
    with pytest.raises(PasswordHashingUnavailable):
        await hashing.run(*QUICK)
    assert "users_service.passwords.missing" in capfd.readouterr().err


async def test_processes_outlast_the_signals_that_tell_the_service_to_end(hashing: HashingPool) -> None:
    """Ctrl-C, and a SIGTERM to all of a service, leave them at work, so that a drain can finish."""
    await hashing.run(*QUICK)
    before = hashing.pids
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(before[0], number)
    assert (await hashing.run(*QUICK)).startswith(b"$argon2id$")
    assert hashing.pids == before
    assert os.getpgid(before[0]) != os.getpgid(0)


async def test_processes_know_no_secrets(hashing: HashingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get none of the service's settings, and passwords are on no command line."""
    monkeypatch.setenv("MYSQL_PASSWORD", "a very secret word")
    await hashing.run(*USUAL)
    (pid,) = hashing.pids
    seen = text_of(pid, "environ") + text_of(pid, "cmdline")
    assert "users_service" in seen
    assert "secret" not in seen
    assert "correct horse" not in seen


async def test_processes_step_back(hashing: HashingPool) -> None:
    """The event loop goes before the hashes, and lives where memory runs out."""
    await hashing.run(*QUICK)
    (pid,) = hashing.pids
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)
    assert int(text_of(pid, "oom_score_adj")) == min(1000, int(text_of(os.getpid(), "oom_score_adj")) + 500)


SCORE_OF_A_POD = """
import sys
from users_service.passwords import hashing_process
with open(hashing_process.OUT_OF_MEMORY, "w") as score:
    score.write("700")
hashing_process.OUT_OF_MEMORY = sys.argv[1]
hashing_process.main()
"""


@pytest.mark.parametrize(
    ("file", "expected"), [("/proc/self/oom_score_adj", 1000), ("/proc/self/refused", 700)], ids=["raised", "refused"]
)
def test_processes_step_back_from_where_the_service_stands(file: str, expected: int) -> None:
    """In a pod the service's own score is high, and lowering it is refused; where any change is, hashing goes on."""
    program = [sys.executable, "-c", SCORE_OF_A_POD, file]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frames.pack(*QUICK))
        process.stdin.flush()
        answer = process.stdout.read(frames.LENGTH_BYTES)
        assert frames.length(answer) > 0
        assert int(text_of(process.pid, "oom_score_adj")) == expected
        process.kill()


async def test_memory_that_runs_out_is_told(hashing: HashingPool) -> None:
    """Where there is no memory for a hash, callers are told to come back, and later ones are served."""
    await hashing.run(*QUICK)
    (pid,) = hashing.pids
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (1, limits[1]))
    with pytest.raises(PasswordHashingUnavailable):
        await hashing.run(*USUAL)
    resource.prlimit(pid, resource.RLIMIT_AS, limits)
    assert (await hashing.run(*USUAL)).startswith(b"$argon2id$")
    assert hashing.pids == [pid]


async def test_processes_are_small(hashing: HashingPool) -> None:
    """What each keeps for itself while idle is a small part of what a hash takes."""
    await hashing.run(*USUAL)
    lines = text_of(hashing.pids[0], "smaps_rollup").splitlines()
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    assert own < 12 * 1024
