"""A restore begins a new history of events: no resume token of before leads past what it has lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from tests.harness.databases import MySQLDatabase
from tests.harness.users import Stubs, users_service
from tests.harness.watching_users import watching_users
from tests.integration.backup.commands import users as run
from tests.integration.users.ways_to_sign_in import new_user

EXPIRED = (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED")


async def test_tokens_of_before_a_restore_are_expired(
    mysql_database: MySQLDatabase, mysql_empty_database: MySQLDatabase, tmp_path: Path
) -> None:
    """Those from before the backup, too; a watch that begins afterwards goes on as ever, across a second restore."""
    backup = tmp_path / "users.backup"
    with users_service(mysql_database) as server:
        async with server.aio_channel() as channel, watching_users(Stubs.on(channel).users) as watch:
            tokens = [watch.token]
            await new_user(Stubs.on(channel))
            await watch.told(1)
            tokens.append(watch.token)
            result = await asyncio.to_thread(run, mysql_database, "backup", backup)
            assert result.exit_code == 0, result.output
            await new_user(Stubs.on(channel))
            await watch.told(1)
            tokens.append(watch.token)
    result = await asyncio.to_thread(run, mysql_empty_database, "restore", backup)
    assert result.exit_code == 0, result.output
    with users_service(mysql_empty_database) as server:
        async with server.aio_channel() as channel:
            stubs = Stubs.on(channel)
            for token in tokens:
                async with watching_users(stubs.users, greeted=False, resume_token=token) as watch:
                    assert await watch.failure() == EXPIRED
            async with watching_users(stubs.users) as watch:
                made = await new_user(stubs)
                assert await watch.told(1) == [("created", made.id, made.etag)]
                token = watch.token
            # Others have got the numbers of those that were lost by now.
            async with watching_users(stubs.users, greeted=False, resume_token=tokens[-1]) as watch:
                assert await watch.failure() == EXPIRED
            async with watching_users(stubs.users, resume_token=token):
                pass
