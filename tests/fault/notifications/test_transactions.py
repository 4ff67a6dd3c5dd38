"""However a call ends, MongoDB has nothing of its transaction open afterwards, and its request may come again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import pymongo
import pytest

from chassis.context import calls
from chassis.errors import ConflictRetry
from chassis.pooling.detached import proceed
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from script.local.mongodb import LocalMongoDB
from tests.contract.requests import NOTIFICATIONS
from tests.fault.notifications.conftest import failing
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications
from tests.harness.storm import Rpc, call, rpcs_of

PACKAGE: Final = "vibework.notifications.v1"
QUERY_TIMEOUT: Final = 1.0
CALL_SECONDS: Final = 0.3
HELD_SECONDS: Final = 20.0
# Within these the server has nothing open any more: "at once", on a machine that does much else.
AT_ONCE: Final = 10.0
# What a call answers that changes what is there, before it would commit anything.
NOTHING_THERE: Final = {"NOT_FOUND"}

Work = Callable[[ClientSession], Awaitable[Any]]


@dataclass
class Holding:
    """Stands in the transactions of a server: notes whose they are, and holds them open or lets them fail."""

    of: set[str] = field(default_factory=set)
    seconds: float = 0.0
    error: Exception | None = None

    def around(self, database: Database, work: Work) -> Work:
        """Return work that does the like, in a transaction in which a command has been sent every moment."""
        served = calls.current()
        if served is not None:
            self.of.add(served.method.rpartition("/")[2])
        rows = database.collection("held")

        async def held(session: ClientSession) -> Any:
            await rows.insert_one({}, session=session)
            until = monotonic() + self.seconds
            while monotonic() < until:
                await rows.find_one({"_id": 0}, session=session)
                await asyncio.sleep(0.02)
                proceed()
            if self.error is not None:
                raise self.error
            return await work(session)

        return held


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Holding:
    """Stand in every transaction."""
    standing, transaction = Holding(), Database.transaction

    async def stood_in(self: Database, work: Work) -> Any:
        return await transaction(self, standing.around(self, work))

    monkeypatch.setattr(Database, "transaction", stood_in)
    return standing


def nothing_is_open(mongod: LocalMongoDB) -> None:
    """Fail unless the server has no transaction open within ``AT_ONCE``."""
    until = monotonic() + AT_ONCE
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        while (found := client.admin.command("serverStatus")["transactions"])["currentOpen"]:
            assert monotonic() < until, found


async def hurried(channel: Any, rpc: Rpc, request: bytes) -> str:
    """Make a call whose deadline comes in the middle of its transaction."""
    return await call(channel, rpc, request, CALL_SECONDS)


async def cancelled(channel: Any, rpc: Rpc, request: bytes) -> str:
    """Make a call and cancel it in the middle of its transaction."""
    calling = asyncio.ensure_future(call(channel, rpc, request))
    await asyncio.wait([calling], timeout=CALL_SECONDS)
    calling.cancel()
    await asyncio.wait([calling])
    return "CANCELLED"


@pytest.mark.long
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_no_rpc_leaves_a_transaction_open(
    mongod: LocalMongoDB, database: MongoDatabase, holding: Holding, driver: str
) -> None:
    """Deadline, cancellation, timeout, error, a commit that fails: each RPC ends what it began, and may come again."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        client.get_default_database()["held"].replace_one({"_id": 0}, {}, upsert=True)
    limits: dict[str, Any] = {"mongodb_query_timeout_ms": int(QUERY_TIMEOUT * 1000), "mongodb_driver": driver}
    async with running_notifications(database, **limits) as running:
        channel, rpcs = running.channel, rpcs_of(PACKAGE, NOTIFICATIONS, {})
        # Whichever begins a transaction is known once each was called.
        await asyncio.gather(*(call(channel, rpc, rpc.fresh()) for rpc in rpcs))
        assert {"CreateNotification", "BatchCreateNotifications"} <= holding.of
        writing = [rpc for rpc in rpcs if rpc.method.name in holding.of]
        requests = [rpc.fresh() for rpc in writing]

        async def end(way: Callable[[Any, Rpc, bytes], Awaitable[str]], seconds: float = 0.0) -> set[str]:
            holding.seconds = seconds
            ended = await asyncio.gather(*map(way, [channel] * len(writing), writing, requests))
            await asyncio.to_thread(nothing_is_open, mongod)
            return set(ended)

        assert await end(hurried, HELD_SECONDS) == {"DEADLINE_EXCEEDED"}
        assert await end(cancelled, HELD_SECONDS) == {"CANCELLED"}
        # Whoever comes first says that time is up: our limit, or the server's, which was told the same.
        assert await end(call, HELD_SECONDS) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
        async with failing(mongod, ["commitTransaction"], closeConnection=True):
            assert await end(call) - NOTHING_THERE == {"UNAVAILABLE"}
        holding.error = ConflictRetry()
        # On a busy machine one may run out of time before it comes to that.
        assert await end(call) - {"UNAVAILABLE", "DEADLINE_EXCEEDED"} == {"ABORTED"}
    holding.error, holding.seconds = None, 0.0
    async with running_notifications(database, mongodb_driver=driver) as patient:
        ended = await asyncio.gather(*map(call, [patient.channel] * len(writing), writing, requests))
    # No request is taken for one that is still in flight.
    assert set(ended) - NOTHING_THERE == {"OK"}
    await asyncio.to_thread(nothing_is_open, mongod)
