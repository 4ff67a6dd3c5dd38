"""`script/server` as a person uses it: up, used, stopped, up again; and what it says when something is in its way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import grpc
import pytest
from vibework.testing.local import ports
from vibework.users.v1 import GetUserRequest, SessionServiceStub, SignUpRequest, UserServiceStub

from tests.e2e.script_server import Run, running
from tests.harness.patience import PATIENCE_SECONDS

EMAIL = "ada@example.com"


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
        run.assert_the_banner_can_be_typed()
        for service in ("users-service", "notifications-service"):
            told = json.loads(run.command(service, "status", "--json").stdout)
            # Both accounts may look at all there is, and the servers record it; pools are told where metrics are.
            assert told["ok"] is True
            assert told["not_looked_at"].keys() <= {"pools"}
        code, output = run.end(signal.SIGTERM)
        assert (code, run.left_behind()) == (0, [])
        assert output.index("Stopping the services") < output.index("Stopping the databases")
        assert "script/server does not run" in run.command("users-service", "status").stderr

    with running(tmp_path, users_port, notifications_port) as run:
        run.wait_until_ready()
        with grpc.insecure_channel(run.address) as channel:
            answer = UserServiceStub(channel).GetUser(GetUserRequest(email=EMAIL), timeout=PATIENCE_SECONDS)
        assert answer.user.email == EMAIL
        run.end(signal.SIGKILL)
        assert until_empty(run) == []
        assert not any(ports.is_taken(port) for port in (users_port, notifications_port))


@pytest.mark.long
def test_with_tls_callers_need_a_certificate_and_a_rule(tmp_path: Path) -> None:
    """The banner names what opens the services, which call each other the same way."""
    users_port, notifications_port = ports.free_port(), ports.free_port()
    with running(tmp_path, users_port, notifications_port, None, "--tls") as run:
        run.wait_until_ready()
        # To seed notifications, their service asks the other for its users, as a caller that the policy names.
        run.assert_the_banner_can_be_typed()
        ca = (tmp_path / "certs" / "ca.crt").read_bytes()
        for name, code in (("notifications", "PERMISSION_DENIED"), (None, "UNAVAILABLE")):
            shown = [(tmp_path / "certs" / f"{name}.{kind}").read_bytes() for kind in ("key", "crt") if name]
            credentials = grpc.ssl_channel_credentials(ca, *shown)
            with grpc.secure_channel(run.address, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
                SessionServiceStub(channel).SignUp(SignUpRequest(email=EMAIL), timeout=PATIENCE_SECONDS)
            assert caught.value.code().name == code
        assert run.end(signal.SIGTERM)[0] == 0


@pytest.mark.long
def test_only_one_run_on_a_folder_and_a_dead_service_ends_it(tmp_path: Path) -> None:
    """A second run on the same data is refused and leaves the first alone; a service that dies ends the run.

    It is named, all else is stopped, and the exit code says that nobody asked for the end.
    """
    with running(tmp_path, ports.free_port(), ports.free_port()) as run:
        run.wait_until_ready()
        with running(tmp_path, ports.free_port(), ports.free_port()) as second:
            output, _ = second.process.communicate(timeout=PATIENCE_SECONDS)
        assert (second.process.returncode, "another script/server runs on" in output) == (2, True)
        os.kill(run.child("users-service serve"), signal.SIGKILL)
        output, _ = run.process.communicate(timeout=PATIENCE_SECONDS)
        assert "users-service serve ended with code -9" in output
        assert (run.process.returncode, run.left_behind()) == (1, [])


def test_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """A port that another program has ends the start at once: one line with the port and the way out, exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(tmp_path, port, ports.free_port()) as run:
            output, _ = run.process.communicate(timeout=PATIENCE_SECONDS)
    assert re.fullmatch(rf"server: port {port} is taken, .* name another port in USERS_PORT\n", output)
    assert run.process.returncode == 2
