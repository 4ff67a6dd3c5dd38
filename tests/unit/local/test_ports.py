"""Tests of free ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from vibework.testing.local import ports

PROCESSES = 8
# The numbers of processes come round, so here all have the same.
ASKING = """
import os
from vibework.testing.local import ports
os.getpid = lambda: 7
print(*(ports.free_port() for _ in range(20)), flush=True)
input()
"""


@pytest.mark.long
def test_no_two_processes_get_the_same_port() -> None:
    """Runs of tests that start at a time do not take each other's ports, nor does one process get a port twice."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ASKING]
    asking = [
        subprocess.Popen(command, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    answers = [process.stdout.readline() for process in asking if process.stdout is not None]
    for process in asking:
        process.communicate("\n")
    given = [int(port) for answer in answers for port in answer.split()]
    assert len(given) == len(set(given)) == PROCESSES * 20


def test_a_taken_port_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens on the next one keeps it."""
    taken = ports.free_port()
    with socket.create_server((ports.LOOPBACK, taken)):
        again = [ports.free_port() for _ in range(99)]
    assert taken not in again
    monkeypatch.setattr(ports, "is_taken", lambda _: True)
    with pytest.raises(OSError, match="something listens on every port from"):
        ports.free_port()


def test_free_ports_are_not_those_of_outgoing_connections() -> None:
    """Such a connection, of which tests open thousands, would take a port before it is listened on."""
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        outgoing = socket.create_connection(listener.getsockname())
        with outgoing:
            assert outgoing.getsockname()[1] not in ports.LISTENERS
    assert ports.free_port() in ports.LISTENERS
