"""Outcomes are recorded without a transaction: what changes meanwhile, and what ends half-way, is put right."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pymongo
import pytest

from chassis.errors import DatabaseUnavailable
from notifications_service.delivery import settling
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.settling import Try
from notifications_service.mongodb.codec import Document
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Reason
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import ATTEMPTS, LEASE, Delivering

LATER = Outcome(Reason.REJECTED_TEMPORARY)


def settled(delivering: Delivering, row: Document, outcome: Outcome) -> Change:
    """Return what an attempt with this outcome makes of a row."""
    now = delivering.now()
    return settling.settled(row, [Try(outcome, now, now)], ATTEMPTS, now)


async def test_a_sum_without_its_row_is_put_right(delivering: Delivering) -> None:
    """A worker that dies between the two leaves a notification that is ahead; whoever takes over has the last word."""
    key = await delivering.create("ann")
    (row,) = await delivering.outbox.claim("email", "dead", 10, LEASE)
    await delivering.notifications.bulk_write(changes.sums([settled(delivering, row, Outcome())]))
    assert await delivering.summed(key) == "sent"
    delivering.far_end.answer = lambda _: Outcome(Reason.REJECTED_PERMANENT, final=True)
    delivering.clock.advance(LEASE)
    await delivering.worker().drain()
    assert (await delivering.delivery(key))["state"] == await delivering.summed(key) == "failed"


async def test_what_changes_while_it_is_decided_is_decided_anew(
    delivering: Delivering, mongodb_module_database: MongoDatabase
) -> None:
    """A newer one that replaces a delivery in that instant is not lost: it is not tried again. The rest is settled."""
    keys = [await delivering.create(user_id) for user_id in ("ann", "bob")]
    rows = await delivering.outbox.claim("email", "mine", 10, LEASE)
    replaced = (await delivering.delivery(keys[0]))["_id"]
    seen = list[Document]()

    def decide(row: Document) -> Change:
        if row["_id"] == replaced and not seen:
            with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
                update = {"$set": {"superseded": True}, "$inc": {"rev": 1}}
                client.get_default_database().deliveries.update_one({"_id": replaced}, update)
            seen.append(row)
        return settled(delivering, row, LATER)

    decisions = {row["_id"]: decide for row in rows}
    assert await delivering.outbox.complete("mine", decisions, {"ann", "bob"}) == set(decisions)
    first, other = [await delivering.delivery(key) for key in keys]
    assert (first["state"], first["reason"], other["deferral"]) == ("cancelled", "superseded", "retry")
    assert [await delivering.summed(key) for key in keys] == ["cancelled", "pending"]


async def test_what_was_written_before_an_error_is_recorded(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the answer is lost, the worker finds its own changes: nobody else has taken them over."""
    keys = [await delivering.create(user_id) for user_id in ("ann", "bob")]
    complete, errors = delivering.outbox.complete, [DatabaseUnavailable()]

    async def unanswered(*arguments: Any) -> set[str]:
        found = await complete(*arguments)
        if errors:
            raise errors.pop()
        return found

    monkeypatch.setattr(delivering.outbox, "complete", unanswered)
    await delivering.worker().drain()
    assert not errors
    assert delivering.numbers.ended["email", "sent", ""] == len(keys)
    assert not delivering.numbers.lost


async def test_outcomes_of_workers_that_both_think_they_have_it(delivering: Delivering) -> None:
    """Of two that record one delivery at once, under the lease that holds and one that ran out, the first one does."""
    keys = [await delivering.create(f"user_{number}") for number in range(16)]
    users = {f"user_{number}" for number in range(16)}
    rows = await delivering.outbox.claim("email", "late", 100, LEASE)
    delivering.clock.advance(LEASE)
    await delivering.outbox.claim("email", "holds", 100, LEASE)
    outcomes = {"late": Outcome(), "holds": Outcome(Reason.REJECTED_PERMANENT, final=True)}

    async def complete(lease: str) -> set[str]:
        decisions = {row["_id"]: lambda found: settled(delivering, found, outcomes[lease]) for row in rows}
        return await delivering.outbox.complete(lease, decisions, users)

    found = await asyncio.gather(*(complete(lease) for lease in outcomes))
    assert [len(each) for each in found] == [0, 16]
    assert {await delivering.summed(key) for key in keys} == {"failed"}


async def test_what_is_settled_by_one_write_gets_each_its_own(delivering: Delivering) -> None:
    """Times, ids of providers and logs stay with their rows, text that looks like a field stays text."""
    keys = [await delivering.create(f"user_{number}") for number in range(6)]
    rows = await delivering.outbox.claim("email", "mine", 10, LEASE)
    at = {row["_id"]: delivering.now() + timedelta(seconds=number) for number, row in enumerate(rows)}
    # Every third is tried again, with an attempt in its log that stays there.
    later = {row["_id"] for row in rows[::3]}

    def decide(row: Document) -> Change:
        now, outcome = at[row["_id"]], Outcome(provider_message_id=f"$_id of {row['_id']}")
        return settling.settled(row, [Try(LATER if row["_id"] in later else outcome, now, now)], ATTEMPTS, now)

    decisions = {row["_id"]: decide for row in rows}
    users = {row["userId"] for row in rows}
    assert await delivering.outbox.complete("mine", decisions, users) == set(decisions)
    delivering.clock.advance(timedelta(days=1))
    again = await delivering.outbox.claim("email", "mine", 10, LEASE)
    assert {row["_id"] for row in again} == later
    later.clear()
    assert len(await delivering.outbox.complete("mine", {row["_id"]: decide for row in again}, users)) == len(again)

    for key in keys:
        row = await delivering.delivery(key)
        (notification,) = await delivering.notifications.find({"_id": key}).to_list(None)
        mine = at[row["_id"]]
        assert (row["state"], row["sentAt"], row["finishedAt"]) == ("sent", mine, mine)
        assert (notification["sentAt"], notification["delivery"]["state"]) == (mine, "sent")
        assert not {"lease", "leasedAt", "dueAt", "reason", "deferral"} & row.keys()
        *before, last = row["log"]
        assert last == {"startedAt": mine, "finishedAt": mine, "providerMessageId": f"$_id of {row['_id']}"}
        assert [each["reason"] for each in before] == ["rejected_temporary"] * (row["attempts"] - 1)
    assert sorted([(await delivering.delivery(key))["attempts"] for key in keys]) == [1, 1, 1, 1, 2, 2]
