"""Several worker processes on one port, as `users-service serve --workers 2` runs them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.users.v1 import SessionServiceStub, SignUpRequest

from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 50


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def environment(database: MySQLDatabase, port: int) -> dict[str, str]:
    """Return settings for a service on this database and port."""
    shared = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **database.environment()}
    own = {"SECRET_KEYS": SECRET_KEYS, "GRPC_PORT": str(port), "NOTIFICATIONS_ADDRESS": "off", "GRPC_DRAIN_MS": "200"}
    return {**shared, **own}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail after a while."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that still run."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def own_channel(port: int) -> grpc.Channel:
    """Open a channel that shares its connection with no other."""
    return grpc.insecure_channel(f"{LOOPBACK}:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def healthy(channel: grpc.Channel) -> bool:
    """Ask for health."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def serving(port: int) -> bool:
    """Ask for health over a connection of its own."""
    with own_channel(port) as channel:
        return healthy(channel)


def connections(pid: int, port: int) -> int:
    """Count the established connections that a process has accepted on a port."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    inodes = set()
    for line in [line for table in tables for line in table]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01":
            inodes.add(fields[9])
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # closed in between
        found += bool(match and match[1] in inodes)
    return found


@contextmanager
def two_workers(database: MySQLDatabase) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the service with two workers, both serving; yield it and its port."""
    port = free_port()
    command = [sys.executable, "-m", "users_service", "serve", "--workers", "2"]
    process = subprocess.Popen(command, env=environment(database, port), stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(children(process.pid)) == 2 and serving(port), "two workers")
        yield process, port
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


def test_connections_spread_over_the_workers(mysql_database: MySQLDatabase) -> None:
    """Both processes serve callers on the one port."""
    with two_workers(mysql_database) as (process, port), ExitStack() as channels:
        workers = children(process.pid)

        def connect_and_look() -> bool:
            return healthy(channels.enter_context(own_channel(port))) and all(
                connections(worker, port) > 0 for worker in workers
            )

        wait_for(connect_and_look, "connections on both workers")


def test_a_killed_worker_is_replaced(mysql_database: MySQLDatabase) -> None:
    """The death of one process costs no more than the calls it was serving, and another takes its place."""
    with two_workers(mysql_database) as (process, port):
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: serving(port), "the other worker's answer")
        wait_for(lambda: len(children(process.pid) - before) == 1, "a worker in its place")
        wait_for(lambda: all(serving(port) for _ in range(8)), "both workers")


def test_a_drain_loses_no_call(mysql_database: MySQLDatabase) -> None:
    """Calls that are in flight at SIGTERM are answered, and all processes end with exit code 0."""
    with two_workers(mysql_database) as (process, port), ExitStack() as stack:
        stubs = [SessionServiceStub(stack.enter_context(own_channel(port))) for _ in range(8)]

        def sign_up(number: int) -> bool:
            request = SignUpRequest(email=f"user{number}@example.com", password="correct horse battery")
            return bool(stubs[number % 8].SignUp(request, timeout=30).session_token)

        with ThreadPoolExecutor(24) as pool:
            answers = [pool.submit(sign_up, number) for number in range(24)]
            wait_for(lambda: any(answer.done() for answer in answers), "the first answer")
            process.terminate()
            assert all(answer.result() for answer in answers)
        workers = children(process.pid)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_end_with_their_parent(mysql_database: MySQLDatabase) -> None:
    """A supervisor that is killed leaves no worker behind to hold the port."""
    with two_workers(mysql_database) as (process, _):
        workers = children(process.pid)
        process.kill()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the end of the workers")


@pytest.mark.parametrize(("change", "code"), [({"MYSQL_POOL_MAX_CONNECTIONS": "many"}, 2), ({"GRPC_PORT": ""}, 1)])
def test_what_stops_the_start_is_one_line(mysql_database: MySQLDatabase, change: dict[str, str], code: int) -> None:
    """A wrong setting, or a taken port, ends the command at once with a line that says so."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        variables = environment(mysql_database, 0) | {name: value or port for name, value in change.items()}
        command = [sys.executable, "-m", "users_service", "serve", "--workers", "2"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert next(iter(change)) in done.stderr or "port is taken" in done.stderr
