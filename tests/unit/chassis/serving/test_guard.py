"""The end of a process in which something hangs: by signals, and by itself where nobody can reach it any more."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
from time import monotonic

import pytest
from vibework.testing.local.ports import free_port

from chassis import background
from chassis.serving import deafness
from chassis.serving.deafness import until_deaf
from chassis.serving.guard import EXIT_DEAF, EXIT_STOPPED_AT_ONCE, EXIT_STUCK
from chassis.serving.health import Health
from tests.harness.patience import until
from tests.unit.chassis.echo_server import BLOCKING
from tests.unit.chassis.serving.test_lifecycle import Served, serving

SHORT = {"GRPC_DRAIN_MS": "0", "GRPC_GRACE_MS": "0"}
# What the product promises after drain and grace, both none here.
PROMISED_SECONDS = 5.0
# What a busy machine may add until the test sees it; what hangs, does for an hour.
LATE_SECONDS = 30.0


async def end_of(served: Served) -> tuple[int, list[str]]:
    """Wait for the end; return the exit code and the events of the log."""
    output = await served.rest_of_output()
    assert served.process.returncode is not None
    return served.process.returncode, [json.loads(line)["event"] for line in output if line.startswith("{")]


@pytest.mark.long
@pytest.mark.parametrize("hangs", ["sleep", "close", "task", "python"])
async def test_one_signal_ends_what_hangs(hangs: str) -> None:
    """Within drain, grace and five seconds, whatever hangs: the log says so, and the port of the metrics is free."""
    port = free_port()
    async with serving(HANGS=hangs, METRICS_PORT=str(port), **SHORT) as served:
        if hangs in BLOCKING:
            await until(lambda: "hangs" in served.lines, "what hangs")
        signalled = monotonic()
        served.process.terminate()
        code, events = await end_of(served)
        assert monotonic() - signalled < PROMISED_SECONDS + LATE_SECONDS
    assert code == EXIT_STUCK
    assert events[-1] == "did not end in time"
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.long
@pytest.mark.parametrize("hangs", ["sleep", "close", "python"])
async def test_a_second_signal_ends_what_hangs_at_once(hangs: str) -> None:
    """Whoever sends it twice does not wait, not even for an event loop that is blocked."""
    async with serving(HANGS=hangs, GRPC_DRAIN_MS="600000") as served:
        if hangs in BLOCKING:
            await until(lambda: "hangs" in served.lines, "what hangs")
        served.process.send_signal(signal.SIGINT)
        await asyncio.sleep(1)
        served.process.send_signal(signal.SIGINT)
        assert (await end_of(served))[0] == EXIT_STOPPED_AT_ONCE


@pytest.mark.long
async def test_one_signal_ends_a_process_whose_interpreter_is_held() -> None:
    """C code that keeps all threads of Python from running is ended by the kernel, on time as well."""
    async with serving(HANGS="interpreter", GRPC_DRAIN_MS="0", GRPC_GRACE_MS="10000") as served:
        await until(lambda: "hangs" in served.lines, "what hangs")
        signalled = monotonic()
        served.process.terminate()
        code, _ = await end_of(served)
        assert monotonic() - signalled < 10 + PROMISED_SECONDS + LATE_SECONDS
    assert code == -signal.SIGPROF


@pytest.mark.long
async def test_a_hung_loop_ends_the_process() -> None:
    """Nobody has to send a signal: a loop that does not turn for HEALTH_DEAF_MS ends, and the log says where it is."""
    async with serving(HANGS="sleep", HEALTH_DEAF_MS="1500") as served:
        output = await served.rest_of_output()
    last = json.loads(output[-1])
    assert (served.process.returncode, last["event"]) == (EXIT_DEAF, "the event loop hangs")
    assert any("echo_server.py" in place for place in last["at"])


@pytest.mark.long
async def test_a_process_that_was_stopped_goes_on() -> None:
    """A pause (SIGSTOP, as of a container) longer than HEALTH_DEAF_MS costs nothing else: no drain, no end."""
    async with serving(HEALTH_DEAF_MS="1500", **SHORT) as served:
        for _ in range(3):
            served.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2)
            served.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
        assert served.process.returncode is None
        assert not any("draining" in line for line in served.lines)
        served.process.terminate()
        code, events = await end_of(served)
    assert (code, events[-2:]) == (0, ["draining", "stopped"])


async def test_a_broken_pool_ends_the_process() -> None:
    """Probes that fail while the database answers new connections are this process's fault: exit code 3."""
    async with serving(HANGS="pool", HEALTH_DEAF_MS="2000", **SHORT) as served:
        code, events = await end_of(served)
    assert code == EXIT_DEAF
    assert events[-3:] == ["deaf: ending, so that a new process takes over", "draining", "stopped"]
    assert "the database answers new connections, but not ours" in events


@pytest.mark.long
async def test_a_database_that_is_away_ends_nothing() -> None:
    """Where new connections fail, too, a new process would help nobody."""
    async with serving(HANGS="database", HEALTH_DEAF_MS="3000", HEALTH_INTERVAL_MS="50") as served:
        await asyncio.sleep(4)
        assert served.process.returncode is None


async def test_only_an_unbroken_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that comes and goes is away now and then; that is not this process's fault."""
    tried = 0
    # Between two tries, whatever the machine does meanwhile, a tenth of the limit passes.
    monkeypatch.setattr(deafness, "monotonic", map(float, itertools.count(step=0.03)).__next__)

    async def fresh() -> None:
        nonlocal tried
        tried += 1
        if tried % 3 == 0:
            raise OSError("away")

    watching = asyncio.create_task(until_deaf(Health(()), fresh, 0.3))
    await until(lambda: tried > 12 or watching.done(), "tries")
    assert not watching.done()
    await background.end([watching])
