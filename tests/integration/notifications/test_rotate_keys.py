"""`notifications-service rotate-keys`: every subscription under the newest key, and what cannot be opened is told."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from click.testing import CliRunner, Result

from notifications_service.cli import main
from notifications_service.mongodb.database import Database
from notifications_service.push_subscriptions import resealing
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, running_notifications, settings_for
from tests.integration.notifications.test_push_subscriptions import PUSH, _repository, register

NEWER = "newer:" + base64.b64encode(b"\x07" * 32).decode()


async def rotate(database: MongoDatabase, keys: str) -> Result:
    """Run the command with these keys, in a thread: it has an event loop of its own."""
    own = {**database.environment(), "SECRET_KEYS": keys}
    return await asyncio.to_thread(lambda: CliRunner().invoke(main, ["rotate-keys"], env=own))


async def test_old_seals_are_replaced_and_the_old_key_can_go(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: Any
) -> None:
    """Batch by batch; run again it changes nothing, and without the old key everything can be read."""
    monkeypatch.setattr(resealing, "BATCH", 2)
    async with running_notifications(mongodb_database, **PUSH) as server:
        ids = {(await register(server, "u")).id for _ in range(5)}
    said = [await rotate(mongodb_database, f"{NEWER},{SECRET_KEYS}") for _ in range(2)]
    assert [each.exit_code for each in said] == [0, 0], [each.output for each in said]
    assert [each.output.split()[0] for each in said] == ["5", "0"]
    database = Database(settings_for(mongodb_database))
    targets = (await _repository(database, NEWER).of_users(["u"]))["u"]
    await database.close()
    assert ({each.id for each in targets}, all(each.is_opened for each in targets)) == (ids, True)


async def test_what_cannot_be_opened_is_left_and_named(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Neither a key that is gone nor a damaged row holds up the others."""
    async with running_notifications(mongodb_database, **PUSH) as server:
        damaged = (await register(server, "u")).id
        await register(server, "u")
    raw_of_own.push_subscriptions.update_one({"_id": damaged}, {"$set": {"sealed": b"x"}})
    said = await rotate(mongodb_database, f"{NEWER},{SECRET_KEYS}")
    assert (said.exit_code, said.output.split()[0], damaged in said.output) == (1, "1", True)
    keyless = await rotate(mongodb_database, "other:" + base64.b64encode(bytes(32)).decode())
    assert (keyless.exit_code, "their key is not in SECRET_KEYS" in keyless.output) == (1, True)
