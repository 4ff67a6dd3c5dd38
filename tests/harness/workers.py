"""Services of several worker processes, as `users-service serve --workers N` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.users import SECRET_KEYS

# After which another connection is tried, which another worker may take.
LOOK_SECONDS = 10


def environment(database: MySQLDatabase, port: int) -> dict[str, str]:
    """Return settings for a service on this database and port."""
    shared = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **database.environment()}
    own = {"SECRET_KEYS": SECRET_KEYS, "GRPC_PORT": str(port), "NOTIFICATIONS_ADDRESS": "off", "GRPC_DRAIN_MS": "200"}
    return {**shared, **own}


def children(pid: int, thread: int | None = None) -> set[int]:
    """Return the processes that a process, or another thread of it, has started and that still run."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{thread or pid}/children").read_text().split()}


def own_channel(port: int) -> grpc.Channel:
    """Open a channel that shares its connection with no other."""
    return grpc.insecure_channel(f"{LOOPBACK}:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def healthy(channel: grpc.Channel) -> bool:
    """Ask for health."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=LOOK_SECONDS)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def serving(port: int) -> bool:
    """Ask for health over a connection of its own."""
    with own_channel(port) as channel:
        return healthy(channel)


@contextmanager
def workers(database: MySQLDatabase, number: int, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the users service with so many workers, all serving; yield it and its port, a free one unless set."""
    port = int(settings.get("GRPC_PORT") or free_port())
    command = [sys.executable, "-m", "users_service", "serve", "--workers", str(number)]
    variables = environment(database, port) | settings
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, text=True)
    try:
        wait_for(lambda: len(children(process.pid)) == number and serving(port), "the workers")
        yield process, port
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_SECONDS)
