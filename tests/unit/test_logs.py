"""Tests of the harness's own care for logs."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from io import BytesIO, StringIO

import pytest
import structlog

from chassis.logs import logging
from chassis.logs.sink import LogSink

# One thread logs while another replaces `sys.stdout`: what a test with `capsys` beside a server does.
LOGGING_WHILE_STDOUT_CHANGES_HANDS = """
import io, sys, threading
import structlog
from tests.harness import logs

logs.pytest_configure()
ended = threading.Event()

def log():
    while not ended.is_set():
        structlog.get_logger().info("rpc", padding="x" * 200)

thread = threading.Thread(target=log)
thread.start()
sys.setswitchinterval(1e-6)
for _ in range(5_000):
    sys.stdout = io.TextIOWrapper(io.BytesIO())
ended.set()
thread.join()
"""


def test_a_server_logs_on_while_stdout_changes_hands() -> None:
    """Protects the run from a segmentation fault of ``print`` (python/cpython#130163)."""
    command = [sys.executable, "-c", LOGGING_WHILE_STDOUT_CHANGES_HANDS]
    process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")


def test_what_a_command_prints_is_free_of_servers_logs() -> None:
    """A test that reads a command's output reads no line of a server beside it."""
    with redirect_stdout(StringIO()) as printed:
        structlog.get_logger().info("a server's line")
    assert printed.getvalue() == ""


@pytest.mark.parametrize("turn", [1, 2])
def test_a_tests_log_ends_with_it(turn: int) -> None:
    """The second turn finds logging as the first one found it, not as it left it."""
    assert not isinstance(structlog.get_config()["logger_factory"]("x"), LogSink), f"turn {turn}"
    logging.configure("info", "json", BytesIO())
