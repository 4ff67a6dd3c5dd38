"""An Envoy before three processes of a service, which are restarted one after the other under load: no call fails."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from vibework.testing.local.ports import free_port
from vibework.users.v1 import CreateUserRequest, GetUserRequest
from vibework.users.v1.user_service_pb2_grpc import UserServiceStub

from tests.harness.databases import MySQLDatabase
from tests.harness.envoy import balancing
from tests.harness.pair import Side
from tests.harness.patience import PATIENCE_SECONDS, until

# The first run fetches Envoy.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("gateway")]

PROCESSES: Final = 3
CALLERS: Final = 4
# Calls that are answered between two restarts.
BETWEEN: Final = 100


# As an operator has them: Envoy leaves a process that drains before it ends. There is no other service.
SETTINGS: Final = {"GRPC_DRAIN_MS": "2000", "METRICS_PORT": "0", "NOTIFICATIONS_ADDRESS": "off"}


def processes(database: MySQLDatabase, folder: Path) -> list[Side]:
    """Return processes of the users service on ports of their own, of which none runs yet."""
    settings = {**database.environment(), **SETTINGS}
    return [Side("users_service", free_port(), settings, folder / f"users-{number}.log") for number in range(PROCESSES)]


def restart(side: Side) -> None:
    """Let one drain and end, as an upgrade does, and start another in its place."""
    side.stop()
    side.start()


@dataclass
class Load:
    """Calls of several callers, each with a connection to Envoy; ``failed``: how those without an answer ended."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def more(self) -> None:
        """Wait until ``BETWEEN`` more calls are answered."""
        wanted = self.answered + BETWEEN
        await until(lambda: self.answered >= wanted, "answers")

    async def call(self, address: str, ended: asyncio.Event) -> None:
        """Create users and read them, one after the other, until it is ended; nothing is sent twice."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            users = UserServiceStub(channel)
            while not ended.is_set():
                try:
                    request = CreateUserRequest(email=f"balanced{next(self._numbers)}@example.com")
                    made = await users.CreateUser(request, timeout=PATIENCE_SECONDS)
                    await users.GetUser(GetUserRequest(id=made.user.id), timeout=PATIENCE_SECONDS)
                    self.answered += 2
                except grpc.aio.AioRpcError as error:
                    self.failed[f"{error.code()}: {error.details()}"] += 1


def watched(address: str) -> grpc.StatusCode:
    """Watch the health of whatever process answers; return how it ends."""
    with grpc.insecure_channel(address) as channel:
        health: Any = HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(health.Watch(HealthCheckRequest(), timeout=PATIENCE_SECONDS))
    code: grpc.StatusCode = caught.value.code()
    return code


async def restarted_under_load(behind: Sequence[Side], address: str) -> Load:
    """Restart each process once, between calls and during them."""
    load, ended = Load(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(load.call(address, ended))
        for side in behind:
            await load.more()
            await asyncio.to_thread(restart, side)
        await load.more()
        ended.set()
    return load


def test_a_rolling_restart_has_no_failed_call(mysql_database: MySQLDatabase, tmp_path: Path) -> None:
    """Whoever calls through Envoy notices nothing, without sending anything twice."""
    behind = processes(mysql_database, tmp_path)
    with ExitStack() as running:
        for side in behind:
            running.callback(side.kill)
            side.start()
        address = running.enter_context(balancing(tmp_path, behind)).address
        assert watched(address) is grpc.StatusCode.UNIMPLEMENTED
        load = asyncio.run(restarted_under_load(behind, address))
    assert load.failed == {}
    assert load.answered >= BETWEEN * (PROCESSES + 1)
