"""`script/server` as a person uses it: up, used, stopped, up again; and what it says when something is in its way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from vibework.users.v1 import GetUserRequest, SessionServiceStub, SignUpRequest, UserServiceStub

from script.local import ports

ROOT = Path(__file__).resolve().parents[2]
EMAIL = "ada@example.com"
SEED = ("seed", "--notifications", "8")


class Run:
    """One run of the command, after its virtual environment is made."""

    def __init__(self, directory: Path, users_port: int, notifications_port: int) -> None:
        """Start the command on a folder and ports of the test's own."""
        self.address = f"127.0.0.1:{users_port}"
        self.directory = directory
        named = ("MYSQL_HOST", "MONGODB_URL", "SECRET_KEYS")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "script.local.server", "--directory", str(directory)],
            cwd=ROOT,
            env={
                **{name: value for name, value in os.environ.items() if name not in named},
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
                "USERS_PORT": str(users_port),
                "NOTIFICATIONS_PORT": str(notifications_port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Read up to the banner's last line."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if line.startswith("Ctrl-C stops"):
                return
        pytest.fail(f"script/server ended before it was ready:\n{''.join(seen)}")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal to the command alone; return its exit code and the rest of its output."""
        os.kill(self.process.pid, number)
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a service's command by `script/run`."""
        command = [sys.executable, "-m", "script.local.command", "--directory", str(self.directory), *arguments]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=30, check=False)

    def child(self, command: str) -> int:
        """Return the id of the run's own child whose command line holds `command`."""
        return next(process for process, parent, line in processes() if parent == self.process.pid and command in line)

    def left_behind(self) -> list[str]:
        """Return the command lines of processes that work on the run's folder."""
        return [line for _, _, line in processes() if str(self.directory) in line]


def processes() -> list[tuple[int, int, str]]:
    """Return id, parent's id and command line of every process; `ps` is missing from small images."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
            found.append((int(folder.name), parent, line))
    return found


@contextmanager
def running(directory: Path, users_port: int, notifications_port: int) -> Iterator[Run]:
    """Run the command; it is killed afterwards should the test have failed."""
    run = Run(directory, users_port, notifications_port)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()


def until_empty(run: Run, seconds: float = 15.0) -> list[str]:
    """Wait for the last process of the run to end; return what is left then."""
    deadline = time.monotonic() + seconds
    while run.left_behind() and time.monotonic() < deadline:
        time.sleep(0.1)
    return run.left_behind()


@pytest.mark.long
def test_users_outlive_a_restart_and_processes_do_not(tmp_path: Path) -> None:
    """A user who signed up is there after SIGTERM and a second start; no process is left after either end."""
    users_port, notifications_port = ports.free_port(), ports.free_port()
    with running(tmp_path, users_port, notifications_port) as run:
        run.wait_until_ready()
        with grpc.insecure_channel(run.address) as channel:
            SessionServiceStub(channel).SignUp(SignUpRequest(email=EMAIL, password="correct horse battery"), timeout=10)
        assert "8 notifications stored for 1 users" in run.command("notifications-service", *SEED).stdout
        code, output = run.end(signal.SIGTERM)
        assert (code, run.left_behind()) == (0, [])
        assert output.index("Stopping the services") < output.index("Stopping the databases")
        assert "script/server does not run" in run.command("users-service", "status").stderr

    with running(tmp_path, users_port, notifications_port) as run:
        run.wait_until_ready()
        with grpc.insecure_channel(run.address) as channel:
            answer = UserServiceStub(channel).GetUser(GetUserRequest(email=EMAIL), timeout=10)
        assert answer.user.email == EMAIL
        run.end(signal.SIGKILL)
        assert until_empty(run) == []
        assert not any(ports.is_taken(port) for port in (users_port, notifications_port))


@pytest.mark.long
def test_only_one_run_on_a_folder_and_a_dead_service_ends_it(tmp_path: Path) -> None:
    """A second run on the same data is refused and leaves the first alone; a service that dies ends the run.

    It is named, all else is stopped, and the exit code says that nobody asked for the end.
    """
    with running(tmp_path, ports.free_port(), ports.free_port()) as run:
        run.wait_until_ready()
        with running(tmp_path, ports.free_port(), ports.free_port()) as second:
            output, _ = second.process.communicate(timeout=10)
        assert (second.process.returncode, "another script/server runs on" in output) == (2, True)
        os.kill(run.child("users-service serve"), signal.SIGKILL)
        output, _ = run.process.communicate(timeout=30)
        assert "users-service serve ended with code -9" in output
        assert (run.process.returncode, run.left_behind()) == (1, [])


def test_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """A port that another program has ends the start at once: one line with the port and the way out, exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(tmp_path, port, ports.free_port()) as run:
            output, _ = run.process.communicate(timeout=10)
    assert re.fullmatch(rf"server: port {port} is taken, .* name another port in USERS_PORT\n", output)
    assert run.process.returncode == 2
