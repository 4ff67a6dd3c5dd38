"""Several worker processes on one port, as `users-service serve --workers 2` runs them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import SessionServiceStub, SignUpRequest

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.workers import children, environment, healthy, own_channel, serving, workers
from tests.unit.chassis.serving.test_rolling_restart import Load

ESTABLISHED, LISTENING = "01", "0A"


def connections(pid: int, port: int, state: str = ESTABLISHED) -> int:
    """Count the connections that a process has accepted on a port, or the sockets by which it listens there."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    inodes = set()
    for line in [line for table in tables for line in table]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == state:
            inodes.add(fields[9])
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # closed in between
        found += bool(match and match[1] in inodes)
    return found


@pytest.mark.long
def test_connections_spread_over_the_workers(mysql_database: MySQLDatabase) -> None:
    """Both processes serve callers on the one port."""
    with workers(mysql_database, 2) as (process, port), ExitStack() as channels:
        processes = children(process.pid)

        def connect_and_look() -> bool:
            return healthy(channels.enter_context(own_channel(port))) and all(
                connections(worker, port) > 0 for worker in processes
            )

        wait_for(connect_and_look, "connections on both workers")


@pytest.mark.long
def test_a_killed_worker_is_replaced(mysql_database: MySQLDatabase) -> None:
    """The death of one process costs no more than the calls it was serving, and another takes its place."""
    with workers(mysql_database, 2) as (process, port):
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: serving(port), "the other worker's answer")
        wait_for(lambda: len(children(process.pid) - before) == 1, "a worker in its place")
        wait_for(lambda: all(serving(port) for _ in range(8)), "both workers")


@pytest.mark.long
def test_a_drain_loses_no_call(mysql_database: MySQLDatabase) -> None:
    """Calls that are in flight at SIGTERM are answered, and all processes end with exit code 0."""
    with workers(mysql_database, 2) as (process, port), ExitStack() as stack:
        stubs = [SessionServiceStub(stack.enter_context(own_channel(port))) for _ in range(8)]

        def sign_up(number: int) -> bool:
            request = SignUpRequest(email=f"user{number}@example.com", password="correct horse battery")
            return bool(stubs[number % 8].SignUp(request, timeout=PATIENCE_SECONDS).session_token)

        with ThreadPoolExecutor(24) as pool:
            answers = [pool.submit(sign_up, number) for number in range(24)]
            wait_for(lambda: any(answer.done() for answer in answers), "the first answer")
            process.terminate()
            assert all(answer.result() for answer in answers)
        processes = children(process.pid)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not any(Path(f"/proc/{worker}").exists() for worker in processes)


@pytest.mark.long
def test_workers_end_with_their_parent(mysql_database: MySQLDatabase) -> None:
    """A supervisor that is killed leaves no worker behind to hold the port."""
    with workers(mysql_database, 2) as (process, _):
        processes = children(process.pid)
        process.kill()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in processes), "the end of the workers")


@pytest.mark.long
async def test_a_second_service_takes_over_beside_the_first(mysql_database: MySQLDatabase) -> None:
    """With GRPC_SO_REUSEPORT all workers can be replaced at once: no call fails, and the metrics change hands."""
    metrics_port = free_port()
    shared = {"GRPC_SO_REUSEPORT": "true", "METRICS_PORT": str(metrics_port)}
    with ExitStack() as stack:
        first, port = await asyncio.to_thread(stack.enter_context, workers(mysql_database, 2, **shared))
        load = Load(f"{LOOPBACK}:{port}", ("vibework.users.v1.SessionService/ValidateSession",))
        async with load.running(channels=4, callers=4):
            again = workers(mysql_database, 2, GRPC_PORT=str(port), **shared)
            second, _ = await asyncio.to_thread(stack.enter_context, again)
            # That the port answers says nothing yet: the first service does.
            joined = lambda: all(connections(worker, port, LISTENING) for worker in children(second.pid))  # noqa: E731
            await asyncio.to_thread(wait_for, joined, "the second service's listeners")
            first.terminate()
            assert await asyncio.to_thread(first.wait, PATIENCE_SECONDS) == 0
            await asyncio.sleep(1)
        assert {code.partition(":")[0] for code in load.codes} == {"UNAUTHENTICATED"}, load.codes
        await asyncio.to_thread(wait_for, lambda: "vibework_workers 2" in metrics_of(metrics_port), "the metrics")
        assert second.poll() is None


def metrics_of(port: int) -> str:
    """Read the metrics of a port; nothing where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.long
def test_a_second_signal_ends_all_workers_at_once(mysql_database: MySQLDatabase) -> None:
    """Ctrl-C twice does not wait for the drain of any worker."""
    with workers(mysql_database, 2, GRPC_DRAIN_MS="60000") as (process, _):
        processes = children(process.pid)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in processes), "the end of the workers")


@pytest.mark.parametrize(("change", "code"), [({"MYSQL_POOL_MAX_CONNECTIONS": "many"}, 2), ({"GRPC_PORT": ""}, 1)])
def test_what_stops_the_start_is_one_line(mysql_database: MySQLDatabase, change: dict[str, str], code: int) -> None:
    """A wrong setting, or a taken port, ends the command at once with a line that says so."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        variables = environment(mysql_database, 0) | {name: value or port for name, value in change.items()}
        command = [sys.executable, "-m", "users_service", "serve", "--workers", "2"]
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert next(iter(change)) in done.stderr or "port is taken" in done.stderr
