"""Deliveries against a plain model: any order of what can happen to them ends as the rules say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from notifications_service.delivery import rules, settling
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.settling import Try
from notifications_service.delivery.steering import RETRY
from notifications_service.mongodb.database import Database
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Reason
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import ACCEPTED, ATTEMPTS, LEASE, Delivering
from tests.harness.notifications import settings_for

T = TypeVar("T")

OUTCOMES = {
    "accepted": ACCEPTED,
    "refused for good": Outcome(Reason.REJECTED_PERMANENT, final=True),
    "refused for now": Outcome(Reason.REJECTED_TEMPORARY),
    "away": Outcome(Reason.CONNECTION, blames_provider=True),
}
WAITS = [timedelta(seconds=1), LEASE, timedelta(minutes=9), timedelta(hours=5)]
EXPIRES_AFTER = timedelta(minutes=10)


@dataclass
class Expected:
    """What the model knows of a delivery."""

    user: str
    key: str
    due: datetime | None
    expires: datetime | None
    unless_read: bool
    state: str = "pending"
    reason: str | None = None
    attempts: int = 0
    lease: str | None = None
    is_read: bool = False
    is_gone: bool = False
    is_superseded: bool = False
    mails: int = 0

    def end(self, state: str, reason: str | None) -> None:
        """Come to an end."""
        self.state, self.reason, self.due, self.lease = state, reason, None, None

    def take(self, lease: str, until: datetime) -> None:
        """Be claimed."""
        if self.state == "sending":
            self.attempts, self.reason = self.attempts + 1, "outcome_unknown"
        self.state, self.lease, self.due = "sending", lease, until

    def judge(self, now: datetime) -> bool:
        """End what is not to be sent; say whether it is."""
        if self.expires is not None and self.expires <= now:
            self.end("expired", "expired")
        elif self.is_gone:
            self.end("cancelled", "notification_gone")
        elif self.is_superseded:
            self.end("cancelled", "superseded")
        elif self.unless_read and self.is_read:
            self.end("cancelled", "read")
        elif self.attempts >= ATTEMPTS:
            self.end("failed", self.reason)
        return self.state == "sending"

    def tell(self, outcome: Outcome, now: datetime) -> tuple[datetime, datetime] | None:
        """Take an outcome; return between which times it is due again, None where it is not."""
        self.attempts += not outcome.blames_provider
        reason = outcome.reason and outcome.reason.value
        if reason is None:
            self.end("sent", None)
        elif self.is_superseded and not outcome.final:
            self.end("cancelled", "superseded")
        elif outcome.final or (self.attempts >= ATTEMPTS and not outcome.blames_provider):
            self.end("cancelled" if self.is_superseded else "failed", "superseded" if self.is_superseded else reason)
        else:
            self.state, self.reason, self.lease = "pending", reason, None
            pause = rules.AWAY if outcome.blames_provider else rules.FIRST_PAUSE * 2 ** (self.attempts - 1)
            return now, now + pause
        return None


class Deliveries(RuleBasedStateMachine):
    """Does the same to the outbox and to the model, and compares."""

    made = Bundle("made")
    database: MongoDatabase

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = self.run(self._opened())
        self.model: dict[ObjectId, Expected] = {}
        self.stalled: list[str] = []

    async def _opened(self) -> Delivering:
        world = Delivering(Database(settings_for(self.database)))
        await world.rows.delete_many({})
        await world.notifications.delete_many({})
        return world

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out work on the database."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the connections."""
        self.run(self.world.database.close())
        self.runner.close()

    @rule(
        target=made,
        user=st.sampled_from(["ann", "bob"]),
        key=st.sampled_from(["", "key"]),
        expires=st.booleans(),
        unless_read=st.booleans(),
    )
    def create(self, user: str, key: str, *, expires: bool, unless_read: bool) -> ObjectId:
        """A newer one of a key replaces what waits, and what would be tried again."""
        now = self.world.now()
        further: dict[str, Any] = {"collapseKey": key} if key else {}
        if expires:
            further["expiresAt"] = now + EXPIRES_AFTER
        if unless_read:
            further["email"] = {"unlessRead": True}
        for other in self.model.values():
            if key and (other.user, other.key) == (user, key):
                if other.state == "pending":
                    other.end("cancelled", "superseded")
                other.is_superseded |= other.state == "sending"
        made = self.run(self.world.create(user, **further))
        self.model[made] = Expected(user, key, now, further.get("expiresAt"), unless_read)
        return made

    @rule(which=st.sampled_from(sorted(OUTCOMES)))
    def work(self, which: str) -> None:
        """A worker takes what is due, and the far end does the same with all of it."""
        outcome, now = OUTCOMES[which], self.world.now()
        self.world.far_end.answer = lambda _: outcome
        taken = self.due()
        self.run(self.world.worker().drain())
        for key in taken:
            expected = self.model[key]
            expected.take("", now)
            if expected.judge(now):
                expected.mails += 1
                self.again(key, expected.tell(outcome, now))

    @rule()
    def stall(self) -> None:
        """A worker takes what is due, and is heard of no more, or late."""
        lease = f"lease {len(self.stalled)}"
        self.stalled.append(lease)
        until = self.world.now() + LEASE
        for key in self.due():
            self.model[key].take(lease, until)
        self.run(self.world.outbox.claim("email", lease, len(self.model) + 1, LEASE))

    @rule(which=st.sampled_from(sorted(OUTCOMES)))
    def come_back(self, which: str) -> None:
        """A worker that stalled tells what it did; of what others have taken over it changes nothing."""
        if not self.stalled:
            return
        lease, outcome, now = self.stalled.pop(), OUTCOMES[which], self.world.now()
        tries = [Try(outcome, now, now)]
        ids = {row["_id"]: row for row in self.run(self._rows())}
        decide = {key: lambda row: settling.settled(row, tries, ATTEMPTS, now) for key in ids}
        if not decide:
            return
        self.run(self.world.outbox.complete(lease, decide))
        for key, expected in self.model.items():
            if expected.lease == lease and expected.state == "sending":
                self.again(key, expected.tell(outcome, now))

    @rule(key=made)
    def delete(self, key: ObjectId) -> None:
        """What waits goes with its notification, unless that has expired; what is being sent is left to its worker."""
        expected, now = self.model[key], self.world.now()
        is_there = not expected.is_gone and (expected.expires is None or expected.expires > now)
        assert self.run(self._delete(key)) == is_there
        if not is_there:
            return
        expected.is_gone = True
        if expected.state == "pending":
            expected.end("cancelled", "notification_gone")

    async def _delete(self, key: ObjectId) -> bool:
        if await self.world.feed.delete(key, {}) is None:
            return False
        await self.world.outbox.cancel_of([key])
        return True

    @rule(key=made)
    def queue_again(self, key: ObjectId) -> None:
        """Who runs the system has one that did not go tried anew; not of a notification that is gone."""
        self.run(self._queue_again(key))
        expected, now = self.model[key], self.world.now()
        if expected.state in ("failed", "cancelled", "suppressed") and not expected.is_gone:
            first = now if expected.expires is None else min(now, expected.expires)
            expected.state, expected.reason, expected.attempts, expected.due = "pending", None, 0, first
            expected.is_superseded = False

    async def _queue_again(self, key: ObjectId) -> None:
        row = await self.world.delivery(key)
        there = [each["_id"] async for each in self.world.notifications.find({})]
        change = RETRY.decide(row, there, self.world.now())
        if isinstance(change, Change):
            await self.world.database.transaction(lambda session: self.world.outbox.settle_in(session, [change]))

    @rule(key=made)
    def read(self, key: ObjectId) -> None:
        """Its user reads it."""
        self.run(self._read(key))
        self.model[key].is_read = True

    async def _read(self, key: ObjectId) -> None:
        await self.world.notifications.update_one({"_id": key}, {"$set": {"read": True}})

    @rule(by=st.sampled_from(WAITS))
    def wait(self, by: timedelta) -> None:
        """Time passes."""
        self.world.clock.advance(by)

    def due(self) -> list[ObjectId]:
        """Return what a claim takes now."""
        now = self.world.now()
        return [key for key, each in self.model.items() if each.due is not None and each.due <= now]

    def again(self, key: ObjectId, between: tuple[datetime, datetime] | None) -> None:
        """Take over when a row is due again, which is drawn at random, after seeing that it is as it should be."""
        if between is None:
            return
        due = self.run(self.world.delivery(key))["dueAt"]
        expires = self.model[key].expires
        assert due == expires or between[0] <= due <= between[1]
        self.model[key].due = due

    async def _rows(self) -> list[dict[str, Any]]:
        return [row async for row in self.world.rows.find({})]

    async def _sums(self) -> dict[ObjectId, str]:
        return {row["_id"]: row["delivery"]["state"] async for row in self.world.notifications.find({})}

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Every row, and how its notification sums it up; and each mail that was sent was to be."""
        rows = {row["notificationId"]: row for row in self.run(self._rows())}
        found = {key: (row["state"], row.get("reason"), row["attempts"], row.get("dueAt")) for key, row in rows.items()}
        assert found == {key: (each.state, each.reason, each.attempts, each.due) for key, each in self.model.items()}
        told = {key: "pending" if each.state == "sending" else each.state for key, each in self.model.items()}
        assert self.run(self._sums()) == {key: told[key] for key, each in self.model.items() if not each.is_gone}
        assert all(("finishedAt" in row) != ("dueAt" in row) for row in rows.values())
        mails = Counter(self.world.far_end.sent())
        # Of a far end that is away not everything is tried.
        assert all(mails[rows[key]["_id"]] <= each.mails for key, each in self.model.items())


def check(database: MongoDatabase, examples: int, steps: int) -> None:
    """Try so many orders of so many steps."""
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    machine = type("Machine", (Deliveries,), {"database": database})
    run_state_machine_as_test(machine, settings=limits)


def test_some_orders_end_as_the_rules_say(mongodb_database: MongoDatabase) -> None:
    """The outbox and a model of a page agree on every row, its sum and its mails."""
    check(mongodb_database, examples=4, steps=12)


@pytest.mark.long
def test_any_order_ends_as_the_rules_say(mongodb_database: MongoDatabase) -> None:
    """The same, for many more orders."""
    check(mongodb_database, examples=40, steps=40)
