"""The shared stream through the faults of the database: nothing is lost, nothing is told twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

import grpc
import pytest
from pymongo.errors import PyMongoError

from script.local.mongodb import LocalMongoDB
from tests.fault.watch.conftest import USER, Watched, migrated, watched
from tests.harness.databases import MongoDatabase
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.watching import create, watching

Fault = Callable[[LocalMongoDB, Watched], Awaitable[None]]


async def kill_and_restart(mongod: LocalMongoDB, _: Watched) -> None:
    """End mongod as a crash would (kill -9), and start it again on the same data."""
    mongod.kill()
    await asyncio.sleep(0.3)
    # In this thread: the process ends with the one that started it.
    mongod.begin()
    await asyncio.to_thread(mongod.wait)


async def step_down(_: LocalMongoDB, to: Watched) -> None:
    """Let the primary step down, so that one has to be elected anew."""
    primary = to.client.admin
    before = (await primary.command("replSetGetStatus"))["term"]
    # It may cut the connection on which it is told.
    with contextlib.suppress(PyMongoError):
        await primary.command("replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True)
    await to.insert()
    assert (await primary.command("replSetGetStatus"))["term"] > before


async def hang(mongod: LocalMongoDB, _: Watched) -> None:
    """Stop mongod's process for longer than a read of the stream may take; connections stay open."""
    assert mongod.process is not None
    os.kill(mongod.process.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(7.5)
    finally:
        os.kill(mongod.process.pid, signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("fault", [kill_and_restart, step_down, hang])
async def test_watches_outlive_faults(mongod: LocalMongoDB, database: MongoDatabase, fault: Fault) -> None:
    """Open watches go on by themselves after the fault; each notification is told once, in order."""
    async with watched(database) as to:
        ended = asyncio.Event()
        writing = asyncio.create_task(to.write(ended))
        for _ in range(1 if fault is hang else 2):
            await asyncio.sleep(0.5)
            await fault(mongod, to)
            await to.insert()
        await asyncio.sleep(0.5)
        ended.set()
        await writing
        await to.insert("the end")
        stored = [str(row["_id"]) async for row in to.rows.find({"userId": USER}, {"_id": 1})]
        for watch in to.watches:
            await watch.until("the end")
            assert len(watch.told) == len(set(watch.told))
            assert set(watch.told) == set(stored)


@pytest.mark.long
async def test_a_watch_resumes_while_the_database_comes_and_goes(mongod: LocalMongoDB, database: MongoDatabase) -> None:
    """Who reconnects with its token all through a crash ends up with everything, once."""
    async with watched(database) as to:
        ended = asyncio.Event()
        writing = asyncio.create_task(to.write(ended))
        tokens = [watch.token for watch in to.watches]
        following = [
            asyncio.create_task(_reconnecting(feed, token)) for feed, token in zip(to.feeds, tokens, strict=True)
        ]
        await asyncio.sleep(0.5)
        await kill_and_restart(mongod, to)
        await to.insert()
        await asyncio.sleep(0.5)
        ended.set()
        written = await writing
        await to.insert("the end")
        for told in await asyncio.gather(*following):
            assert len(told) == len(set(told))
            assert set(written) < set(told)


@pytest.mark.long
async def test_a_long_outage_ends_watches_which_then_resume(mongod: LocalMongoDB, database: MongoDatabase) -> None:
    """Heartbeats do not hide that the database is away; once it is back, the last token leads on."""
    async with watched(database, watch_outage_ms=500) as to:
        mongod.kill()
        for watch in to.watches:
            assert await watch.failure() == (grpc.StatusCode.UNAVAILABLE, "WATCH_INTERRUPTED")
        refused = {await ended for ended in asyncio.as_completed([_refusal(feed) for feed in to.feeds])}
        assert refused == {(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")}
        mongod.begin()
        await asyncio.to_thread(mongod.wait)
        identity = await to.insert()
        for feed, watch in zip(to.feeds, to.watches, strict=True):
            async with watching(feed, USER, resume_token=watch.token) as again:
                assert await again.change() == ("created", identity)


async def _refusal(feed: object) -> tuple[grpc.StatusCode, str]:
    async with watching(feed, USER, greeted=False) as watch:
        return await watch.failure()


async def _reconnecting(feed: object, token: str) -> list[str]:
    told: list[str] = []
    while True:
        async with watching(feed, USER, greeted=False, resume_token=token) as watch:
            try:
                for _ in range(10):
                    event = await watch.content()
                    told.append(event.created.id)
                    if event.created.title == "the end":
                        return told
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
            token = watch.token or token


@pytest.mark.long
async def test_expired_rows_are_told_as_deleted(mongod: LocalMongoDB, database: MongoDatabase) -> None:
    """When the sweeper of the database removes a row, its watchers hear of it."""
    async with watched(database) as to:
        identity = await to.insert()
        for watch in to.watches:
            assert await watch.change() == ("created", identity)
        index = {"name": "createdAt_1", "expireAfterSeconds": 1}
        await to.client.get_default_database().command("collMod", "notifications", index=index)
        for watch in to.watches:
            assert await watch.change() == ("deleted", identity)


@pytest.mark.long
async def test_a_token_older_than_the_history_is_expired(forgetful_mongod: LocalMongoDB) -> None:
    """Once the database has dropped what followed the token, the caller is told to list again."""
    with migrated(forgetful_mongod) as database:
        async with watched(database) as to:
            tokens = [watch.token for watch in to.watches]
            filler = to.client.get_default_database().filler
            async with asyncio.timeout(PATIENCE_SECONDS):
                for feed, token in zip(to.feeds, tokens, strict=True):
                    while not await _expired(feed, token):
                        await filler.insert_many([{"text": "x" * 100_000} for _ in range(50)])
            for feed, watch in zip(to.feeds, to.watches, strict=True):
                made = await create(feed, USER)
                while await watch.change() != ("created", made.id):
                    pass


async def _expired(feed: object, token: str) -> bool:
    async with watching(feed, USER, greeted=False, resume_token=token) as watch:
        try:
            await watch.event()
        except grpc.aio.AioRpcError:
            assert await watch.failure() == (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED")
            return True
        return False
