"""The order of the stream, under writers that commit out of order of their ids, in two processes at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as pb

from chassis.contract import etags
from tests.harness.databases import MySQLDatabase
from tests.harness.statements import connected, query
from tests.harness.users import Stubs, users_service
from tests.harness.watching_users import Told, WatchingUsers, watching_users
from tests.integration.users.ways_to_sign_in import PASSWORD, new_email, new_user


async def _act(stubs: Stubs, chance: random.Random, times: int) -> None:
    """Create, change and delete users, and set their passwords."""
    ids: list[str] = []
    for number in range(times):
        if len(ids) < 2 or chance.random() < 0.3:
            ids.append((await new_user(stubs)).id)
        elif chance.random() < 0.2:
            await stubs.users.DeleteUser(pb.DeleteUserRequest(id=ids.pop(chance.randrange(len(ids)))))
        elif chance.random() < 0.3:
            user_id = ids.pop()
            await stubs.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=user_id, password=PASSWORD))
        else:
            user = user_pb2.User(id=chance.choice(ids), name=f"name {number}")
            await stubs.users.UpdateUser(pb.UpdateUserRequest(user=user, update_mask=FieldMask(paths=["name"])))


async def _hold(database: MySQLDatabase, chance: random.Random, times: int) -> None:
    """Change users as the service does, in transactions that stay open while others commit; roll some back."""
    async with connected(database) as connection, connection.cursor() as cursor:
        for _ in range(times):
            user_id, email = f"held_{chance.getrandbits(48):012x}", new_email()
            values = (user_id, email, email)
            await cursor.execute("INSERT INTO users (id, email, email_normalized) VALUES (%s, %s, %s)", values)
            event = "INSERT INTO user_events (user_id, kind, revision) VALUES (%s, %s, %s)"
            await cursor.execute(event, (user_id, "created", 1))
            await asyncio.sleep(chance.random() * 0.1)
            await cursor.execute("UPDATE users SET revision = 2 WHERE id = %s", (user_id,))
            await cursor.execute(event, (user_id, "changed", 2))
            await (connection.rollback() if chance.random() < 0.3 else connection.commit())


def _check(told: list[Told], rows: dict[str, int]) -> None:
    """Compare a stream from the beginning with the rows that are left: of each user, states in order, the last one."""
    last: dict[str, int | None] = {}
    for kind, user_id, etag in told:
        revision, before = (None if not etag else etags.read(etag, 1)), last.get(user_id, 0)
        number = None if revision is None else revision[0]
        assert (kind == "created") == (user_id not in last), (kind, user_id)
        assert (kind == "deleted") == (number is None)
        assert before is not None, "told after its deletion"
        assert number is None or number >= before
        last[user_id] = number
    assert {user_id: revision for user_id, revision in last.items() if revision is not None} == rows


async def _reading(stubs: Stubs, watch: WatchingUsers, ended: asyncio.Event, count: list[int]) -> list[Told]:
    """Read a watch to the end, and at some events the user: it is in that state or in a later one."""
    told: list[Told] = []
    while not (ended.is_set() and len(told) == count[0]):
        told += await watch.told(1)
        _, user_id, etag = told[-1]
        if len(told) % 7 == 0 and etag:
            answer = await stubs.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=[user_id]))
            for user in answer.users:
                assert (etags.read(user.etag, 1) or (0,))[0] >= (etags.read(etag, 1) or (0,))[0]  # type: ignore[operator]
    return told


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_all_watchers_agree_with_the_rows(mysql_database: MySQLDatabase, seed: int) -> None:
    """Two servers, watchers on both, one that begins anew with each token: one order, that of later reads."""
    chance, ended, count = random.Random(seed), asyncio.Event(), [-1]
    with users_service(mysql_database) as one, users_service(mysql_database, watch_queue_events=5) as other:
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(server.aio_channel()) for server in (one, other) * 2]
            stubs = [Stubs.on(channel) for channel in channels]
            watches = [await stack.enter_async_context(watching_users(each.users)) for each in stubs]
            start = watches[0].token
            readers = [
                asyncio.create_task(_reading(each, watch, ended, count))
                for each, watch in zip(stubs, watches, strict=True)
            ]
            restless = asyncio.create_task(_restless(stubs[:2], start, ended, count))
            writers = [_act(each, random.Random(chance.random()), 25) for each in stubs]
            holders = [_hold(mysql_database, random.Random(chance.random()), 15) for _ in range(3)]
            await asyncio.gather(*writers, *holders)
            # Wakes those that wait for an event when all have been told.
            ((before,),) = await query(mysql_database, "SELECT COUNT(*) FROM user_events")
            count[0] = before + 1
            ended.set()
            await new_user(stubs[0])
            streams = await asyncio.gather(*readers, restless)
            async with watching_users(stubs[1].users, resume_token=start) as again:
                streams.append(await again.told(count[0]))
    rows = dict(await query(mysql_database, "SELECT id, revision FROM users"))
    _check(streams[0], rows)
    assert all(stream == streams[0] for stream in streams)
    stored = await query(mysql_database, "SELECT kind, user_id FROM user_events ORDER BY seq")
    assert [(kind, user_id) for kind, user_id, _ in streams[0]] == stored


async def _restless(stubs: list[Stubs], token: str, ended: asyncio.Event, count: list[int]) -> list[Told]:
    """Read one event at a time, each from another server, with the last token."""
    told: list[Told] = []
    while not (ended.is_set() and len(told) == count[0]):
        async with watching_users(stubs[len(told) % 2].users, resume_token=token) as watch:
            told += await watch.told(1)
            token = watch.token
    return told
