"""The processes that hash, of a whole service: none before the first password, none after the service's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from vibework.testing.local.ports import free_port
from vibework.users.v1 import SessionServiceStub, SignInRequest, SignUpRequest

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.workers import children, environment, own_channel, serving

EMAIL, PASSWORD = "user@example.com", "correct horse battery"
HASHING = "users_service.passwords.hashing_process"


@contextmanager
def service(database: MySQLDatabase, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the users service as its command does; yield it and its port."""
    port = free_port()
    variables = environment(database, port) | settings
    command = [sys.executable, "-m", "users_service", "serve"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: serving(port), "the service")
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


def hashing(pid: int) -> set[int]:
    """Return the processes that a service has for hashing; one that is just being started is not yet among them."""
    return {child for child in children(pid) if HASHING in Path(f"/proc/{child}/cmdline").read_text()}


def gone(pids: set[int]) -> bool:
    """Whether none of these is left, not even as a zombie of the service."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def sign_up(channel: grpc.Channel) -> str:
    """Sign a user up and return the token."""
    answer = SessionServiceStub(channel).SignUp(SignUpRequest(email=EMAIL, password=PASSWORD), timeout=PATIENCE_SECONDS)
    return str(answer.session_token)


@pytest.mark.long
def test_a_service_that_is_killed_leaves_no_process(mysql_database: MySQLDatabase) -> None:
    """There is none before the first password; after SIGKILL of the service they end by themselves."""
    with service(mysql_database) as (process, port), own_channel(port) as channel:
        assert children(process.pid) == set()
        assert sign_up(channel)
        started = hashing(process.pid)
        assert len(started) == 1
        process.kill()
        wait_for(lambda: gone(started), "the end of the processes that hash")


@pytest.mark.long
@pytest.mark.parametrize("to_all", [False, True], ids=["service", "everyone"])
def test_a_drain_finishes_the_sign_ins_under_way(mysql_database: MySQLDatabase, to_all: bool) -> None:
    """At SIGTERM, also where all processes get one, sign-ins that have begun are answered; then no process is left."""
    # In the drain, calls that the machine has held up still come in.
    settings = {"ARGON2_PASSES": "10", "GRPC_DRAIN_MS": "3000"}
    with service(mysql_database, **settings) as (process, port), own_channel(port) as channel:
        assert sign_up(channel)
        sessions = SessionServiceStub(channel)
        with ThreadPoolExecutor(8) as threads:
            request = SignInRequest(email=EMAIL, password=PASSWORD)
            calls = [threads.submit(sessions.SignIn, request, timeout=PATIENCE_SECONDS) for _ in range(8)]
            wait_for(lambda: len(hashing(process.pid)) > 1, "more than one at work")
            started = hashing(process.pid)
            for pid in (process.pid, *(started if to_all else ())):
                os.kill(pid, signal.SIGTERM)
            assert all(call.result().session_token for call in calls)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert gone(started)
        assert PASSWORD not in output
