"""`notifications-service rotate-keys`: every subscription under the newest key, and what cannot be opened is told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chassis.keyring import Keyring
from notifications_service.cli import main
from notifications_service.mongodb.database import Database
from notifications_service.outbox import resealing as outbox_resealing
from notifications_service.outbox.direct import DirectContent, DirectSeal, NewDirect
from notifications_service.outbox.erasing import Eraser
from notifications_service.outbox.model import Reason
from notifications_service.outbox.resealing import SealedDeliveries, reseal_direct
from notifications_service.push_subscriptions import resealing
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import Delivering
from tests.harness.notifications import SECRET_KEYS, running_notifications, settings_for
from tests.harness.patience import UNHURRIED
from tests.integration.notifications.test_push_subscriptions import PUSH, _repository, register

NEWER = "newer:" + base64.b64encode(b"\x07" * 32).decode()
BOTH = f"{NEWER},{SECRET_KEYS}"
CODE = DirectContent("", "sign_in", {"code": "918273"})


async def rotate(database: MongoDatabase, keys: str) -> Result:
    """Run the command with these keys, in a thread: it has an event loop of its own."""
    own = {**UNHURRIED, **database.environment(), "SECRET_KEYS": keys}
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


@asynccontextmanager
async def delivering(database: MongoDatabase, keys: str) -> AsyncIterator[Delivering]:
    """Open an outbox with a worker of these keys."""
    opened = Database(settings_for(database))
    try:
        yield Delivering(opened, secret_keys=keys)
    finally:
        await opened.close()


async def queue(outbox: Delivering, number: int, seal: DirectSeal | None = None) -> str:
    """Store what SendDirect would be given for an address; return the delivery's id."""
    new = NewDirect(CODE, outbox.now() + timedelta(hours=1), address=f"ann{number}@example.com")
    row = (seal or outbox.seal).stored(new, outbox.now())
    await outbox.database.transaction(lambda session: outbox.outbox.insert_in(session, [row]))
    return str(row["_id"])


async def test_direct_mails_go_out_without_the_old_key(mongodb_database: MongoDatabase, monkeypatch: Any) -> None:
    """Batch by batch, also where many are to be erased in one moment; a second run has nothing to do."""
    monkeypatch.setattr(outbox_resealing, "BATCH", 3)
    async with delivering(mongodb_database, SECRET_KEYS) as old:
        ids = [await queue(old, number) for number in range(7)]
        old.clock.advance(timedelta(minutes=1))
        ids += [await queue(old, number) for number in range(7, 10)]
        before = await old.rows.find({}, {"rev": 1, "updatedAt": 1}).to_list(None)
        said = [await rotate(mongodb_database, BOTH) for _ in range(2)]
        assert [each.exit_code for each in said] == [0, 0], [each.output for each in said]
        told = "direct deliveries sealed anew under key newer"
        assert [each.output.splitlines()[-1] for each in said] == [f"10 {told}", f"0 {told}"]
        assert await old.rows.find({}, {"rev": 1, "updatedAt": 1}).to_list(None) == before
    async with delivering(mongodb_database, NEWER) as new:
        new.clock.now = old.clock.now
        await new.worker().drain()
        assert set(new.far_end.sent()) == set(ids)
        assert {mail.to for mail in new.far_end.mails} == {f"ann{number}@example.com" for number in range(10)}
        assert all("918273" in mail.text for mail in new.far_end.mails)


async def test_a_direct_mail_whose_key_is_gone_holds_up_nothing(mongodb_database: MongoDatabase) -> None:
    """It is left, named, and ends by its own reason; the rotation, the worker and the other mails go on."""
    async with delivering(mongodb_database, SECRET_KEYS) as old:
        keyless = await queue(old, 1, DirectSeal(Keyring({"gone": bytes(32)})))
        whole, damaged = await queue(old, 2), await queue(old, 3)
        await old.rows.update_one({"_id": damaged}, {"$set": {"content": "left by another program"}})
        said = await rotate(mongodb_database, BOTH)
        assert said.exit_code == 1
        lines = said.output.splitlines()
        assert "1 direct deliveries sealed anew under key newer" in lines
        assert f"1 direct deliveries left: their key is not in SECRET_KEYS: {keyless}" in lines
        assert f"1 direct deliveries left: they are damaged: {damaged}" in lines
        assert "918273" not in said.output
    async with delivering(mongodb_database, NEWER) as new:
        new.clock.now = old.clock.now
        await new.worker().drain()
        assert new.far_end.sent() == [whole]
        for id_ in (keyless, damaged):
            row = await new.rows.find_one({"_id": id_})
            assert row is not None
            assert (row["state"], row["reason"]) == ("failed", Reason.KEY_GONE.value)


async def test_a_rotation_that_was_cut_off_goes_on(mongodb_database: MongoDatabase, monkeypatch: Any) -> None:
    """What was done stays done, and the next run does the rest."""
    monkeypatch.setattr(outbox_resealing, "BATCH", 2)
    async with delivering(mongodb_database, SECRET_KEYS) as old:
        for number in range(5):
            await queue(old, number)
        stored, seal = SealedDeliveries(old.database), DirectSeal(Keyring.parse(BOTH))
        write = stored.reseal

        async def once(changes: Any) -> int:
            done = await write(changes)
            monkeypatch.setattr(stored, "reseal", broken)
            return done

        async def broken(_: Any) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(stored, "reseal", once)
        with pytest.raises(KeyboardInterrupt):
            await reseal_direct(stored, seal)
        assert (await reseal_direct(SealedDeliveries(old.database), seal)).done == 3


async def test_what_was_erased_meanwhile_does_not_come_back(mongodb_database: MongoDatabase) -> None:
    """A mail is sent, or erased, between reading its seal and replacing it: its content stays gone."""
    async with delivering(mongodb_database, SECRET_KEYS) as old:
        sent, expired = await queue(old, 1), await queue(old, 2)
        await old.rows.update_one({"_id": expired}, {"$set": {"dueAt": old.now() + timedelta(days=1)}})
        stored, seal = SealedDeliveries(old.database), DirectSeal(Keyring.parse(BOTH))
        read = [(row, seal.again(row)) for row in await stored.sealed(None, (), 10)]
        await old.worker().drain()
        old.clock.advance(timedelta(hours=2))
        await Eraser(old.database, old.now).erase()
        assert await stored.reseal(read) == 0
        rows = {row["_id"]: row async for row in old.rows.find({})}
        assert "content" not in rows[sent]
        assert {"content", "address"}.isdisjoint(rows[expired])


async def test_a_rotation_beside_a_worker_loses_no_mail(mongodb_database: MongoDatabase) -> None:
    """Rotations to and fro while mails are sent: each goes out once, and what is left of each can be opened."""
    async with delivering(mongodb_database, BOTH) as outbox:
        ids = [await queue(outbox, number) for number in range(60)]
        seals = [DirectSeal(Keyring.parse(keys)) for keys in (BOTH, f"{SECRET_KEYS},{NEWER}")]

        async def to_and_fro() -> None:
            for seal in seals * 5:
                result = await reseal_direct(SealedDeliveries(outbox.database), seal)
                assert (result.keyless.count, result.damaged.count) == (0, 0)

        await asyncio.gather(to_and_fro(), outbox.worker().drain())
        assert sorted(outbox.far_end.sent()) == sorted(ids)
        async for row in outbox.rows.find({}):
            assert (row["state"], "content" in row) == ("sent", False)
            assert outbox.seal.address(row).endswith("@example.com")
