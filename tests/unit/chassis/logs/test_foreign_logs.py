"""What libraries log: never what callers sent, and never so much that it hurts."""

from __future__ import annotations

import asyncio
import json
import logging as standard
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import IO, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.logs import foreign_logs
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis import raw_calls
from tests.unit.chassis.conftest import Log

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parents[1] / "echo_server.py"
SECRET = "hunter2-of-a-caller"
# Beyond gRPC's own limit, so that it also logs for calls that it refuses.
REFERENCES = 64_000
CALLS, BAD_HEADERS = 200, 40


def _texts() -> list[tuple[str, Any, tuple[object, ...]]]:
    """Return loggers, messages and arguments as gRPC, asyncio and drivers log what they were sent."""
    error = ValueError(SECRET)
    return [
        ("root", "Invalid encoding on %s", (SECRET.encode(),)),
        ("grpc._cython.cygrpc", "Invalid encoding on %s", (SECRET.encode() + b"\xff",)),
        ("grpc._cython.cygrpc", f"Unexpected [KeyError] raised by servicer method [/{SECRET}]", ()),
        ("pygrpc_native.server", f"gRPC connection ended with error: {SECRET}", ()),
        ("grpc._server", error, ()),
        ("grpc_reflection.v1alpha", SECRET, ()),
        ("asyncio", f"Exception in callback {SECRET}\nhandle: <Handle {SECRET}>", ()),
        ("asyncio", f"Task exception was never retrieved\nfuture: <Task exception=KeyError('{SECRET}')>", ()),
        ("asyncmy", "Warning %s for %s", (1366, SECRET)),
        ("somebody.else", "failed: %(value)s", ({"value": SECRET},)),
    ]


@pytest.mark.parametrize(("name", "message", "arguments"), _texts())
def test_no_value_of_a_record_is_written(log: Log, name: str, message: Any, arguments: tuple[object, ...]) -> None:
    """Whatever a library logs of data, by argument, in its text or as an exception, does not reach our log."""
    error = UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET)
    standard.getLogger(name).error(message, *arguments, exc_info=error)
    (line,) = log.lines
    assert SECRET not in log.text
    assert (line["logger_name"], line["level"]) == (name, "error")
    assert line["event"]
    assert line["error"]


def test_what_happened_is_still_told(log: Log) -> None:
    """Who reads the log learns the kind: the template, the beginning of a text of asyncio's, the exception's class."""
    standard.getLogger("grpc.aio").error("Invalid encoding on %s", b"x")
    standard.getLogger("asyncio").error("Task exception was never retrieved\nfuture: <Task>", exc_info=KeyError("x"))
    standard.getLogger("grpc.aio").error(KeyError("x"))
    standard.getLogger("opentelemetry.exporter").warning("code %s, again in %ds", "UNAVAILABLE", 2)
    first, second, third, fourth = log.lines
    assert first["event"] == "Invalid encoding on %s"
    assert (second["event"], second["error"][0]) == ("Task exception was never retrieved", "KeyError")
    assert third["error"][0] == "KeyError"
    assert fourth["event"] == "code UNAVAILABLE, again in 2s"


def test_a_library_that_logs_wrongly_is_no_failure(log: Log) -> None:
    """Arguments that do not fit their template raise nothing where they are logged."""
    record = standard.LogRecord("opentelemetry.x", standard.WARNING, "", 0, "again in %d s", ("soon",), None)
    foreign_logs.Captured().emit(record)
    assert log.lines[0]["event"] == "again in %d s"


async def test_a_logger_writes_so_much_a_second(log: Log) -> None:
    """The first lines of a flood are written, the rest counted and told in one line, and other loggers go on."""
    flooding = standard.getLogger("a.flooding.library")
    for _ in range(5_000):
        flooding.error("again")
    standard.getLogger("another.library").error("once")
    (told,) = await log.wait_for("lines of this logger were left out")
    assert (told["logger_name"], told["lines"]) == ("a.flooding.library", 5_000 - foreign_logs.LINES_A_SECOND)
    flooding.error("later")
    events = [line["event"] for line in log.lines]
    assert events.count("again") == foreign_logs.LINES_A_SECOND
    assert events.count("once") == events.count("later") == 1


def test_what_is_left_out_is_not_even_made(log: Log) -> None:
    """Beyond the limit no record is made, no argument formatted: a flood does not cost what writing it would."""

    class Formatted:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    flooding = standard.getLogger("opentelemetry.flooding")
    for _ in range(foreign_logs.LINES_A_SECOND):
        flooding.error("again")
    made: list[standard.LogRecord] = []

    def note(record: standard.LogRecord) -> bool:
        made.append(record)
        return True

    flooding.addFilter(note)
    flooding.error("%s", Formatted())
    flooding.removeFilter(note)
    assert made == []
    assert len(log.lines) == foreign_logs.LINES_A_SECOND


@pytest.fixture
def served() -> Iterator[subprocess.Popen[bytes]]:
    """Run a server whose output is kept."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "LOG_FORMAT": "json", "GRPC_DRAIN_MS": "0"}
    command = [sys.executable, str(SCRIPT)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


async def test_headers_that_are_no_text_reach_no_log(served: subprocess.Popen[bytes]) -> None:
    """Headers that are no UTF-8, in many calls and by reference in one, are not logged with their value, nor by line.

    The server answers meanwhile, and its standard error, where gRPC's core writes, stays empty.
    """
    assert served.stdout is not None
    address = json.loads(await asyncio.to_thread(served.stdout.readline))["address"]
    value = b"Bearer " + SECRET.encode() + b"\xff"
    many = [raw_calls.metadata(b"authorization", value, BAD_HEADERS)] * CALLS
    started = monotonic()
    async with grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for blocks in (many, [raw_calls.metadata(b"authorization", value, REFERENCES)], _unparsable()):
            with await asyncio.to_thread(raw_calls.send, address, blocks):
                await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        before = await asyncio.to_thread(_read_until, served.stdout, b"lines of this logger were left out")
    served.terminate()
    rest, errors = await asyncio.to_thread(served.communicate)
    seconds = monotonic() - started
    lines = [json.loads(line) for line in (before + rest).splitlines() if line.startswith(b"{")]
    written = [line for line in lines if line.get("logger_name", "").startswith(("grpc", "root"))]
    assert errors == b""
    assert SECRET.encode() not in before + rest
    assert 0 < len(written) <= (foreign_logs.LINES_A_SECOND + 1) * (seconds + 2)
    assert sum(line.get("lines", 0) for line in written) >= BAD_HEADERS


def _read_until(stream: IO[bytes], words: bytes) -> bytes:
    lines: list[bytes] = []
    while not lines or words not in lines[-1]:
        lines.append(stream.readline())
        assert lines[-1], "the server ended"
    return b"".join(lines)


def _unparsable() -> list[bytes]:
    """Return headers of which gRPC's core complains by itself."""
    return [raw_calls.metadata(name, SECRET.encode(), 1) for name in (b"grpc-timeout", b"grpc-encoding", b"te")]
