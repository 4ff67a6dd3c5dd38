"""What `script/server` has started ends with it, however it ends and whatever hangs in what it has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from vibework.testing.local import ports

from script.local.server import ROOT

SERVER = ROOT / "tests" / "unit" / "chassis" / "echo_server.py"
# Starts the server of the tests as script/server starts a service, says its process, and waits for its own end.
PARENT = """
import os, signal, sys, time
from pathlib import Path
from vibework.testing.local.processes import Process
child = Process("service", [sys.executable, sys.argv[1]], log=Path(sys.argv[2]), on_parent_death=signal.SIGTERM)
print(child.pid, flush=True)
time.sleep(3600)
"""
PROMISED_SECONDS = 5.0


def running(process: int) -> bool:
    """Say whether a process is there and not merely waiting to be noticed as dead."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def free(port: int) -> bool:
    """Say whether a port can be had."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; say whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no signal for a parent's death")
@pytest.mark.parametrize("hangs", ["sleep", "close"])
@pytest.mark.long
def test_a_hung_service_ends_with_a_killed_parent(tmp_path: Path, hangs: str) -> None:
    """SIGKILL for the parent is SIGTERM for the service, which ends on time though it hangs; its ports are free."""
    log, port, metrics = tmp_path / "log", ports.free_port(), ports.free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        "HANGS": hangs,
        "GRPC_PORT": str(port),
        "METRICS_PORT": str(metrics),
        "GRPC_DRAIN_MS": "0",
        "GRPC_GRACE_MS": "0",
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, "-c", PARENT, str(SERVER), str(log)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        service = int(parent.stdout.readline())
        try:
            assert wait_until(lambda: "listening" in log.read_text(), 60)
            time.sleep(1.5)  # until it hangs
            parent.kill()
            # Its last threads hold the ports for a moment longer than there is a process to be seen.
            assert wait_until(lambda: not running(service) and free(port) and free(metrics), PROMISED_SECONDS)
        finally:
            parent.kill()
            if running(service):
                os.kill(service, signal.SIGKILL)
