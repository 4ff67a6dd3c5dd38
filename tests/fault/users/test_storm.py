"""Callers who leave in crowds cost the users service nothing that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.rpcs_of_users import rpcs_of_users
from tests.harness.statements import LOOK_SECONDS, open_transactions
from tests.harness.storm import Rpc, broken, call, storm
from tests.harness.users import UsersServer, users_service
from tests.integration.telemetry.scraping import Scrape, metrics_port, until

# No limit of ours may end what a busy machine takes long for.
PATIENT: dict[str, Any] = {
    "mysql_query_timeout_ms": 30_000,
    "mysql_pool_acquire_timeout_ms": 30_000,
    "grpc_max_deadline_ms": 120_000,
}


@dataclass(frozen=True)
class Stormy:
    """A running server, its RPCs, and the port of its metrics."""

    server: UsersServer
    rpcs: list[Rpc]
    metrics: int

    def rpc(self, name: str) -> Rpc:
        """Return the RPC of a name."""
        return next(rpc for rpc in self.rpcs if rpc.method.name == name)


@pytest.fixture
def stormy(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[Stormy]:
    """Run the users service with a user whom requests can name."""
    port, metrics = metrics_port()
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **metrics, **PATIENT) as server,
        server.channel() as channel,
    ):
        yield Stormy(server, rpcs_of_users(channel), port)


def pools_are_idle(now: Scrape) -> bool:
    """Say whether no connection is lent or waited for, but for the one that metrics themselves are read by."""
    names = ("vibework_pool_in_use", "vibework_pool_waiting")
    return not any(now.value(name, pool=pool) for name in names for pool in ("points", "transactions"))


async def nothing_is_left(stormy: Stormy) -> None:
    """Wait until the server serves nobody, its pools are idle, and MySQL has no transaction open; fails after 10 s."""
    assert stormy.server.server is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while stormy.server.server.in_flight.total:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    await until(stormy.metrics, pools_are_idle)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await open_transactions(stormy.server.database):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(LOOK_SECONDS)


async def test_after_a_storm_of_callers_who_left_the_service_is_as_before(stormy: Stormy) -> None:
    """Every RPC, 32 calls at once, half of them left by their callers: the others are answered, and nothing stays."""
    async with stormy.server.aio_channel() as channel:
        assert broken(await storm(channel, stormy.rpcs, 8)) == {}
        await nothing_is_left(stormy)
        assert broken(await storm(channel, [stormy.rpc("CreateUser"), stormy.rpc("ListUsers")], 100)) == {}
        await nothing_is_left(stormy)
        answers = {rpc.method.name: await call(channel, rpc, rpc.fresh()) for rpc in stormy.rpcs}
        assert answers["CreateUser"] == answers["GetUser"] == answers["UpdateUser"] == answers["ListUsers"] == "OK"


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_rpc_weathers_a_storm_of_its_own(stormy: Stormy) -> None:
    """Several hundred calls of each RPC alone, so that none hides behind another's luck."""
    async with stormy.server.aio_channel() as channel:
        for rpc in stormy.rpcs:
            assert broken(await storm(channel, [rpc], 400)) == {}
            await nothing_is_left(stormy)
