"""A worker delivers what is due: to the right address, once, and records how it went."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.delivery.leased import Leased
from notifications_service.delivery.worker import BATCH
from notifications_service.outbox.model import Reason
from notifications_service.users_client import Addressee
from tests.harness.delivering import ATTEMPTS, CONNECTIONS, LEASE, Delivering, FarEnd
from tests.harness.patience import PATIENCE_SECONDS, until

REFUSED = Outcome(Reason.REJECTED_PERMANENT, final=True, detail="550 5.1.1 no such user", smtp_code=550)
LATER = Outcome(Reason.REJECTED_TEMPORARY, detail="451 4.7.1 later", smtp_code=451)
AWAY = Outcome(Reason.CONNECTION, blames_provider=True)


async def test_what_is_due_goes_to_its_users_address(delivering: Delivering) -> None:
    """With what the notification says when it is sent; the delivery and its notification say that it was."""
    key = await delivering.create("ann")
    await delivering.notifications.update_one({"_id": key}, {"$set": {"title": "Changed\nmeanwhile"}})
    before = await delivering.notifications.find_one({"_id": key})
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert (mail.to, mail.subject) == ("ann@example.com", "Changed meanwhile")
    assert "Message" in mail.text
    row = await delivering.delivery(key)
    assert (row["_id"], row["state"], row["attempts"]) == (mail.delivery_id, "sent", 1)
    assert row["sentAt"] == row["finishedAt"] == delivering.now()
    assert not {"dueAt", "lease", "leasedAt", "deferral"} & row.keys()
    assert [each["maskedAddress"] for each in row["log"]] == ["a…@…com"]
    after = await delivering.notifications.find_one({"_id": key})
    assert before is not None
    assert after is not None
    assert (after["delivery"]["state"], after["sentAt"]) == ("sent", delivering.now())
    assert (after["rev"], after["updatedAt"]) == (before["rev"], before["updatedAt"])


async def test_a_batch_asks_everybody_once(delivering: Delivering) -> None:
    """However many are due; no more are sent at a time than there are connections."""
    await delivering.create_many([f"user_{number}" for number in range(250)])
    await delivering.worker().drain()
    assert len(set(delivering.far_end.sent())) == 250
    assert delivering.users.calls == 3
    assert delivering.far_end.at_once <= CONNECTIONS
    assert await delivering.rows.count_documents({"state": "sent"}) == 250


async def test_what_is_refused_for_good_is_not_tried_again(delivering: Delivering) -> None:
    """It is a dead letter, with what the far end said."""
    delivering.far_end.answer = lambda _: REFUSED
    key = await delivering.create("ann")
    await delivering.worker().drain()
    row = await delivering.delivery(key)
    assert (row["state"], row["reason"], row["reasonDetail"]) == ("failed", "rejected_permanent", REFUSED.detail)
    assert [each["smtpCode"] for each in row["log"]] == [550]
    assert await delivering.summed(key) == "failed"


async def test_what_is_refused_for_now_is_tried_again_until_it_is_given_up(delivering: Delivering) -> None:
    """After a while each time, as often as the settings say, and not before."""
    delivering.far_end.answer = lambda _: LATER
    key, worker = await delivering.create("ann"), delivering.worker()
    for attempt in range(1, ATTEMPTS + 1):
        await worker.drain()
        await worker.drain()
        row = await delivering.delivery(key)
        assert (row["attempts"], len(row["log"]), len(delivering.far_end.mails)) == (attempt, attempt, attempt)
        if attempt < ATTEMPTS:
            assert (row["state"], row["deferral"], row["reason"]) == ("pending", "retry", "rejected_temporary")
            await delivering.pass_until_due(key)
    assert (row["state"], row["reason"]) == ("failed", "rejected_temporary")


async def test_a_far_end_that_is_away_burns_no_attempt(delivering: Delivering) -> None:
    """Its breaker opens, nothing more is taken, and once it is back everything goes."""
    delivering.far_end.answer = lambda _: AWAY
    await delivering.create_many([f"user_{number}" for number in range(20)])
    worker = delivering.worker()
    await worker.drain()
    assert len(delivering.far_end.mails) < 20
    assert await delivering.rows.count_documents({"state": "pending", "attempts": 0, "deferral": "provider_down"}) == 20
    delivering.far_end.answer = FarEnd().answer
    delivering.clock.advance(timedelta(minutes=1))
    await delivering.worker().drain()
    assert await delivering.rows.count_documents({"state": "sent", "attempts": 1}) == 20


async def test_without_the_users_service_everything_waits(delivering: Delivering) -> None:
    """No attempt is counted, and nobody is sent anything unasked."""
    delivering.users.refuses = True
    key = await delivering.create("ann")
    await delivering.worker().drain()
    row = await delivering.delivery(key)
    assert (row["state"], row["attempts"], row["deferral"]) == ("pending", 0, "users_service_down")
    delivering.users.refuses, delivering.users.is_away = False, True
    await delivering.pass_until_due(key)
    await delivering.worker().drain()
    assert await delivering.delivery(key) == row, "known to be away, nothing is even claimed"
    delivering.users.is_away = False
    await delivering.worker().drain()
    assert (await delivering.delivery(key))["state"] == "sent"


GONE, DISABLED = None, Addressee("ann", "ann@example.com", is_verified=True, is_disabled=True)


@pytest.mark.parametrize(
    ("user", "further", "ends"),
    [
        (GONE, {}, ("cancelled", "user_gone")),
        (DISABLED, {}, ("suppressed", "user_disabled")),
        (DISABLED, {"critical": True}, ("sent", None)),
        (Addressee("ann"), {}, ("failed", "no_address")),
        (Addressee("ann", "ann@example.com"), {}, ("failed", "address_unverified")),
    ],
)
async def test_the_user_decides_as_of_when_it_is_sent(
    delivering: Delivering, user: Addressee | None, further: dict[str, Any], ends: tuple[str, str | None]
) -> None:
    """Deleted, disabled, without an address, or with one that nobody verified."""
    key = await delivering.create("ann", **further)
    if user is None:
        delivering.users.gone.add("ann")
    else:
        delivering.users.others["ann"] = user
    await delivering.worker().drain()
    row = await delivering.delivery(key)
    assert (row["state"], row.get("reason")) == ends
    assert await delivering.summed(key) == ends[0]
    assert len(delivering.far_end.mails) == (ends[0] == "sent")


async def test_what_was_read_expired_or_deleted_meanwhile_is_not_sent(delivering: Delivering) -> None:
    """Where it was to be sent only unless read, after a delay; and what expires is looked at when it does."""
    later, delay = delivering.now() + timedelta(minutes=5), int(timedelta(minutes=10).total_seconds() * 1000)
    read = await delivering.create("ann", email={"unlessRead": True, "delay": delay})
    expired = await delivering.create("bob", email={"delay": delay}, expiresAt=later)
    deleted = await delivering.create("eve")
    await delivering.notifications.update_one({"_id": read}, {"$set": {"read": True}})
    await delivering.notifications.delete_one({"_id": deleted})
    await delivering.worker().drain()
    assert (await delivering.delivery(deleted))["reason"] == "notification_gone"
    assert (await delivering.delivery(read))["deferral"] == "delay"
    delivering.clock.advance(timedelta(minutes=5))
    await delivering.worker().drain()
    assert ((await delivering.delivery(expired))["state"], await delivering.summed(expired)) == ("expired", "expired")
    delivering.clock.advance(timedelta(minutes=5))
    await delivering.worker().drain()
    assert ((await delivering.delivery(read))["state"], await delivering.summed(read)) == ("cancelled", "cancelled")
    assert delivering.far_end.mails == []


async def test_a_newer_one_of_the_same_key_replaces_what_waits(delivering: Delivering) -> None:
    """Of one user, channel and key; what is being sent meanwhile is not tried again."""
    first = await delivering.create("ann", collapseKey="score")
    other = await delivering.create("bob", collapseKey="score")
    second = await delivering.create("ann", collapseKey="score")
    row = await delivering.delivery(first)
    assert (row["state"], row["reason"]) == ("cancelled", "superseded")
    assert await delivering.summed(first) == "cancelled"
    delivering.far_end.answer, sending = lambda _: LATER, delivering.far_end.open
    sending.clear()
    working = asyncio.create_task(delivering.worker().drain())
    await until(lambda: len(delivering.far_end.mails) == 2, "the mails")
    third = await delivering.create("ann", collapseKey="score")
    sending.set()
    await working
    assert ((await delivering.delivery(second))["state"], await delivering.summed(second)) == ("cancelled", "cancelled")
    assert (await delivering.delivery(other))["state"] == "pending"
    assert (await delivering.delivery(third))["attempts"] == 1


async def test_one_that_is_poisonous_to_us_is_tried_again_and_then_given_up(
    delivering: Delivering,
) -> None:
    """A fault of our own code at one delivery blocks none of the others."""

    def burst(mail: Mail) -> Outcome:
        if mail.to.startswith("poison"):
            raise RuntimeError("a fault of ours")
        return FarEnd().answer(mail)

    delivering.far_end.answer = burst
    poison = await delivering.create("poison")
    await delivering.create_many([f"user_{number}" for number in range(20)])
    worker = delivering.worker()
    await worker.drain()
    assert await delivering.rows.count_documents({"state": "sent"}) == 20
    for _ in range(ATTEMPTS - 1):
        assert (await delivering.delivery(poison))["deferral"] == "retry"
        await delivering.pass_until_due(poison)
        await worker.drain()
    row = await delivering.delivery(poison)
    assert (row["state"], row["reason"], row["attempts"]) == ("failed", "internal", ATTEMPTS)


async def test_facts_that_cannot_be_read_are_the_trouble_of_one(delivering: Delivering) -> None:
    """A row of another collection that bursts the reading of a batch holds up only who needs it."""
    categories = delivering.database.collection("categories")
    await categories.insert_one({"_id": "poison"}, bypass_document_validation=True)
    key = await delivering.create("ann", category="poison")
    await delivering.create_many([f"user_{number}" for number in range(20)])
    await delivering.worker().drain()
    await categories.delete_many({})
    assert await delivering.rows.count_documents({"state": "sent"}) == 20
    assert (await delivering.delivery(key))["reason"] == "internal"


async def test_what_a_worker_left_is_taken_over_after_its_lease(delivering: Delivering) -> None:
    """Not before; its attempt counts, its outcome stays unknown, and the one who had it changes nothing any more."""
    key = await delivering.create("ann")
    (row,) = await delivering.outbox.claim("email", "dead", 10, LEASE)
    await delivering.worker().drain()
    assert delivering.far_end.mails == []
    delivering.clock.advance(LEASE)
    await delivering.worker().drain()
    after = await delivering.delivery(key)
    assert (after["state"], after["attempts"], delivering.far_end.sent()) == ("sent", 2, [row["_id"]])
    assert [each.get("reason") for each in after["log"]] == ["outcome_unknown", None]
    assert await delivering.outbox.complete("dead", {row["_id"]: lambda _: None}, [row["userId"]]) == set()
    assert delivering.numbers.taken_over["email"] == 1


async def test_a_purge_in_the_middle_is_no_error(delivering: Delivering) -> None:
    """Whoever finds its row gone has nothing to record, and goes on."""
    key = await delivering.create("ann")
    await delivering.create("bob")
    delivering.far_end.open.clear()
    working = asyncio.create_task(delivering.worker().drain())
    await until(lambda: len(delivering.far_end.mails) == 2, "the mails")
    await delivering.rows.delete_one({"notificationId": key})
    delivering.far_end.open.set()
    await working
    assert [row["state"] async for row in delivering.rows.find()] == ["sent"]


@pytest.mark.long
@pytest.mark.parametrize("rate", [0, 1_000])
async def test_what_has_just_come_does_not_wait_behind_a_backlog(delivering: Delivering, rate: float) -> None:
    """However much is due for longer, every other claim is of what came due last, also where a rate is kept to."""
    before = [f"user_{number}" for number in range(5 * BATCH)]
    await delivering.create_many(before)
    delivering.clock.advance(timedelta(minutes=1))
    worker = delivering.worker(rate=rate)
    await worker._round()
    await delivering.create("eve")
    await worker.drain()
    sent = [mail.to.removesuffix("@example.com") for mail in delivering.far_end.mails]
    assert sorted(sent) == sorted([*before, "eve"])
    assert sent.index("eve") <= 2 * BATCH


async def test_two_workers_share_what_is_due(delivering: Delivering) -> None:
    """Each is sent by one of them."""
    await delivering.create_many([f"user_{number}" for number in range(300)])
    ends = [delivering.far_end, FarEnd(), FarEnd()]
    await asyncio.gather(*(delivering.worker(end).drain() for end in ends))
    sent = [key for end in ends for key in end.sent()]
    assert len(sent) == len(set(sent)) == 300


async def test_a_worker_that_is_told_to_stop_gives_back_what_it_has_not_tried(delivering: Delivering) -> None:
    """What is on its way may end; the rest is due at once, for another worker, without an attempt counted."""
    await delivering.create_many([f"user_{number}" for number in range(20)])
    delivering.far_end.open.clear()
    worker = delivering.worker()
    running = asyncio.create_task(worker.run())
    await until(lambda: len(delivering.far_end.mails) == CONNECTIONS, "the first mails")
    stopping = asyncio.create_task(worker.stop(LEASE.total_seconds()))
    await asyncio.sleep(0)
    delivering.far_end.open.set()
    await asyncio.gather(stopping, running)
    assert await delivering.rows.count_documents({"state": "sent"}) == len(delivering.far_end.mails) == CONNECTIONS
    due = {"state": "pending", "attempts": 0, "dueAt": {"$lte": delivering.now()}, "lease": {"$exists": False}}
    assert await delivering.rows.count_documents(due) == 20 - CONNECTIONS


async def test_a_rate_holds_for_all_workers_together(delivering: Delivering) -> None:
    """Of what is due only as much is taken as the time since allows; the rest waits its turn, untouched."""
    slow = 0.001
    rates = delivering.database.collection("delivery_rates")
    # That of another test of this database.
    await rates.delete_many({})
    await delivering.create_many([f"user_{number}" for number in range(20)])
    await asyncio.gather(*(delivering.worker(rate=slow).drain() for _ in range(4)))
    assert len(delivering.far_end.mails) == 1
    waits = {"state": "pending", "rev": 1, "attempts": 0}
    assert await delivering.rows.count_documents(waits) == 19
    a_while = timedelta(seconds=5 / slow)
    await rates.update_one(
        {"_id": "email"}, [{"$set": {"at": {"$subtract": ["$at", a_while / timedelta(milliseconds=1)]}}}]
    )
    await delivering.worker(rate=slow).drain()
    assert len(delivering.far_end.mails) == 2, "no more is saved up than goes out in a second, or one"


async def test_nothing_is_sent_under_a_lease_that_may_have_run_out(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was stopped for longer, or cannot renew it, leaves the rest to others, without an attempt."""
    held = iter([True] * CONNECTIONS)
    monkeypatch.setattr(Leased, "may_begin", property(lambda _: next(held, False)))
    await delivering.create_many([f"user_{number}" for number in range(20)])
    worker = delivering.worker()
    await worker._round()
    await asyncio.gather(*worker._batches)
    sent = len(delivering.far_end.mails)
    assert 0 < sent <= CONNECTIONS
    untouched = {"state": "pending", "attempts": 0, "lease": {"$exists": False}}
    assert await delivering.rows.count_documents(untouched) == 20 - sent


async def drained(delivering: Delivering, mails: int) -> None:
    """Work until so many mails are sent.

    A claim that was given up may still be carried out, when the row is free: that lease ends without an attempt.
    """
    while len(delivering.far_end.mails) < mails:
        await delivering.worker().drain()
        delivering.clock.advance(LEASE)


async def test_a_row_that_a_dead_process_holds_keeps_no_other_waiting(delivering: Delivering) -> None:
    """Killed within a transaction, it leaves a row locked for as long as MongoDB keeps that; the rest is sent."""
    keys = [await delivering.create(f"user_{number}") for number in range(5)]
    async with await delivering.database.driver.start_session() as session:
        await delivering.database.driver.begin(session)
        await delivering.rows.update_one({"notificationId": keys[0]}, {"$set": {"held": True}}, session=session)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await drained(delivering, mails=4)
        await session.abort_transaction()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await drained(delivering, mails=5)
