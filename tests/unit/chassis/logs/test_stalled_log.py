"""A reader of the log that stalls or goes away: the service serves on, and what was lost is told."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.testing.local.ports import free_port
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.logs.writer import LogWriter
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.workers import serving

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parents[1] / "echo_server.py"
CALLS = 2_000
# Below GRPC_MAX_IN_FLIGHT.
AT_ONCE = 500
TOLD = "log lines were dropped: their reader stalled"
PATH = {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}


class FullPipe:
    """A pipe that holds all that it can, and nobody reads it."""

    def __init__(self) -> None:
        """Fill it with empty lines."""
        self.reads, self.writes = os.pipe()
        os.write(self.writes, b"\n" * fcntl.fcntl(self.writes, fcntl.F_GETPIPE_SZ))

    def read_to_end(self) -> list[str]:
        """Read what is and will be in it, until nobody can write to it, without the empty lines."""
        os.close(self.writes)
        with os.fdopen(self.reads, "rb", closefd=False) as file:
            return [line.decode() for line in file.read().split(b"\n") if line]


@pytest.fixture
def full_pipe() -> Iterator[FullPipe]:
    """A full pipe, whose reading end is closed at the end."""
    pipe = FullPipe()
    yield pipe
    os.close(pipe.reads)


@contextmanager
def server_writing_to(pipe: FullPipe, form: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server whose standard output is the pipe; yield it and its port once it serves."""
    port = free_port()
    environment = os.environ | PATH | {"LOG_FORMAT": form, "GRPC_PORT": str(port), "GRPC_DRAIN_MS": "0", "QUIET": ""}
    with subprocess.Popen([sys.executable, str(SCRIPT)], env=environment, stdout=pipe.writes) as process:
        try:
            wait_for(lambda: serving(port), "the server")
            yield process, port
        finally:
            process.kill()


async def _call(port: int) -> None:
    """Make so many calls, and ask for health after each batch of them."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        sessions = pb_grpc.SessionServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        request: Any = pb.ValidateSessionRequest(session_token="a" * 43)
        for _ in range(CALLS // AT_ONCE):
            calls: list[Any] = [sessions.ValidateSession(request, timeout=PATIENCE_SECONDS) for _ in range(AT_ONCE)]
            await asyncio.gather(*calls)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.long
def test_a_stalled_reader_stops_nothing(full_pipe: FullPipe) -> None:
    """While nobody reads the log, 2,000 calls are answered; read again, it says how many whole lines it lacks."""
    with server_writing_to(full_pipe, "json") as (process, port):
        asyncio.run(_call(port))
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.extend(full_pipe.read_to_end()))
        reader.start()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    reader.join(20)
    lines = [json.loads(line) for line in read if line.startswith("{")]
    told = sum(line["lines"] for line in lines if line["event"] == TOLD)
    assert told > 0
    assert sum(line["event"] == "rpc" for line in lines) + told == CALLS
    assert lines[-1]["event"] == "stopped"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("form", ["json", "console"])
def test_the_end_does_not_wait_for_a_stalled_reader(full_pipe: FullPipe, form: str) -> None:
    """SIGTERM ends a server whose log nobody reads, in either form, with the exit code of a drain."""
    with server_writing_to(full_pipe, form) as (process, _port):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


_MANY_LINES = """
import asyncio, sys
from chassis.logs import logging
logging.configure("info", sys.argv[1])
log = logging.get("x")

async def work():
    for number in range(1_000):
        log.info("line", number=number)

asyncio.run(work()) if sys.argv[2] == "loop" else [log.info("line", number=number) for number in range(1_000)]
log.info("last")
if sys.argv[3] == "crash":
    raise RuntimeError("the end")
sys.exit(3)
"""


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("where", ["loop", "command"])
@pytest.mark.parametrize(("end", "code"), [("exit", 3), ("crash", 1)])
def test_the_end_loses_nothing(form: str, where: str, end: str, code: int) -> None:
    """All that was logged is written before a process ends, by an exit code or by an exception."""
    command = [sys.executable, "-c", _MANY_LINES, form, where, end]
    done = subprocess.run(
        command, env=os.environ | PATH, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1_001
    assert "last" in lines[-1]


_LONG_LINES = """
import sys
from chassis.logs import logging
sink = logging.configure("info", "json")
for number in range(200):
    logging.get("x").info("line", text=sys.argv[1] * 9_000)
    sink.flush(60)
"""


def test_lines_of_several_processes_do_not_mix() -> None:
    """Workers share one pipe: lines longer than the kernel writes in one piece still arrive whole."""
    reads, writes = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", _LONG_LINES, letter], env=os.environ | PATH, cwd=ROOT, stdout=writes)
        for letter in "abc"
    ]
    os.close(writes)
    with os.fdopen(reads, "rb") as file:
        lines = [json.loads(line) for line in file]
    assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0, 0, 0]
    assert sorted(line["text"] for line in lines) == [letter * 9_000 for letter in "abc" for _ in range(200)]


def _tell(number: int) -> bytes:
    return b"lost %d\n" % number


def test_what_is_dropped_is_told_after_what_came_before_it() -> None:
    """The order of lines and of what is missing between them is the order in which they came."""
    reads, writes = os.pipe()
    size = fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4_096)
    writer = LogWriter(writes, _tell, backlog=2 * size)
    for number in range(1_000):
        writer.put(b"%099d\n" % number, 1)
    assert writer.dropped > 0
    assert not writer.wait(0.01)
    with os.fdopen(reads, "rb") as file:
        expected = 0
        while expected < 1_000:
            word, _, lost = file.readline().partition(b" ")
            assert word == b"lost" or int(word) == expected
            expected += int(lost or 1)
        assert writer.wait(PATIENCE_SECONDS)
    os.close(writes)
    assert expected == 1_000


def test_a_reader_that_is_gone_is_counted() -> None:
    """What cannot be written is lost, and neither blocks nor raises."""
    reads, writes = os.pipe()
    os.close(reads)
    writer = LogWriter(writes, _tell)
    for _ in range(5):
        writer.put(b"one\ntwo\n", 2)
        assert writer.wait(PATIENCE_SECONDS)
    os.close(writes)
    assert writer.dropped == 10


def test_a_descriptor_that_others_made_non_blocking_loses_nothing() -> None:
    """Another process may have set O_NONBLOCK on the pipe that it shares with us: the thread waits for room itself."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    writer = LogWriter(writes, _tell, backlog=1 << 20)
    for number in range(5_000):
        writer.put(b"%099d\n" % number, 1)
    with os.fdopen(reads, "rb") as file:
        assert [int(file.readline()) for _ in range(5_000)] == list(range(5_000))
    os.close(writes)
    assert writer.dropped == 0
