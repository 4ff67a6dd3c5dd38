"""Deliveries against a plain model: any order of what can happen to them ends as the rules say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chassis.peers.breaker import CircuitBreaker
from notifications_service.delivery import rules, settling
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.settling import Try
from notifications_service.delivery.steering import CANCEL, RETRY, SteeringStep
from notifications_service.errors import DeliveryStateConflict
from notifications_service.mongodb.database import Database
from notifications_service.outbox.digests import PAUSE
from notifications_service.outbox.model import Lane, Reason
from notifications_service.preferences.digest_times import next_after
from notifications_service.preferences.model import DIGESTS, Mode, Preferences
from notifications_service.preferences.repository import PreferencesRepository
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
# Of what there is, one of these.
NUMBERS = st.integers(0, 30)
WAITS = [timedelta(seconds=1), LEASE, timedelta(minutes=9), timedelta(hours=1), timedelta(hours=5), timedelta(days=1)]
EXPIRES_AFTER = timedelta(minutes=10)
USERS = ["ann", "bob"]
MAY_BE_RETRIED = ("failed", "cancelled", "suppressed")
# A Monday that is far off, so that the server itself expires nothing meanwhile.
MONDAY: Final = datetime(2100, 1, 4, tzinfo=UTC)
WEEK: Final = timedelta(weeks=1)


class Chance:
    """Stands in for ``random`` where pauses are drawn: this part of each is left, until a rule says otherwise."""

    def __init__(self) -> None:
        self.part = 0.5

    def random(self) -> float:
        """Return the part."""
        return self.part

    def uniform(self, low: float, high: float) -> float:
        """Return the number that so large a part of the way from ``low`` leads to."""
        return low + (high - low) * self.part


@dataclass
class Expected:
    """What the model knows of a delivery: of a notification, or of a digest."""

    user: str
    due: datetime | None
    state: str = "pending"
    reason: str | None = None
    attempts: int = 0
    lease: str | None = None
    is_superseded: bool = False
    lane: str = ""
    mails: int = 0

    def end(self, state: str, reason: str | None) -> None:
        """Come to an end."""
        self.state, self.reason, self.due, self.lease, self.lane = state, reason, None, None, ""

    def wait(self, due: datetime, lane: str) -> None:
        """Wait for a time."""
        self.state, self.due, self.lease, self.lane = "pending", due, None, lane

    def begin_anew(self, due: datetime, lane: str) -> None:
        """Be queued by hand."""
        self.wait(due, lane)
        self.reason, self.attempts, self.is_superseded = None, 0, False

    def take(self, lease: str, until: datetime) -> None:
        """Be claimed."""
        if self.state == "sending":
            self.attempts, self.reason = self.attempts + 1, "outcome_unknown"
        self.state, self.lease, self.due = "sending", lease, until

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


@dataclass
class Item(Expected):
    """The delivery of a notification; ``since``: which digest is its own; ``digest``: which carries it."""

    key: str = ""
    expires: datetime | None = None
    unless_read: bool = False
    is_read: bool = False
    is_gone: bool = False
    since: datetime = field(default_factory=datetime.now)
    digest_at: datetime | None = None
    digest: str | None = None

    def first(self, due: datetime) -> datetime:
        """Return when it is looked at: when it is due, or expires."""
        return due if self.expires is None else min(due, self.expires)

    def left_out(self, now: datetime) -> tuple[str, str] | None:
        """Return why nobody is to be told of it any more."""
        if self.expires is not None and self.expires <= now:
            return "expired", "expired"
        if self.is_gone:
            return "cancelled", "notification_gone"
        if self.is_superseded:
            return "cancelled", "superseded"
        return ("cancelled", "read") if self.unless_read and self.is_read else None

    def judge(self, now: datetime) -> bool:
        """End what is not to be sent; say whether it is."""
        if (why := self.left_out(now)) is not None:
            self.end(*why)
        elif self.attempts >= ATTEMPTS:
            self.end("failed", self.reason)
        return self.state == "sending"


@dataclass
class Digest(Expected):
    """A digest, which may still gather."""

    gathering: bool = True


class Deliveries(RuleBasedStateMachine):
    """Does the same to the outbox and to the model, and compares.

    What happens follows from what is drawn alone: neither the time of day nor chance has a part in it.
    """

    database: MongoDatabase
    chance: Chance

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = self.run(self._opened())
        self.world.clock.now = MONDAY
        self.chance.part = 0.5
        self.model: dict[ObjectId, Item] = {}
        self.digests: dict[str, Digest] = {}
        self.modes = dict.fromkeys(USERS, Mode.ON)
        self.stalled: list[str] = []
        self.prefer(USERS[0], Mode.DIGEST_HOURLY)

    async def _opened(self) -> Delivering:
        world = Delivering(Database(settings_for(self.database)))
        self.preferences = PreferencesRepository(world.database, world.now)
        for rows in (world.rows, world.notifications, world.database.collection("preferences")):
            await rows.delete_many({})
        return world

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out work on the database."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the connections."""
        self.run(self.world.database.close())
        self.runner.close()

    @initialize(since_monday=st.timedeltas(timedelta(), WEEK))
    def begin(self, since_monday: timedelta) -> None:
        """All begins at some time of the week."""
        self.world.clock.now += since_monday

    @rule(part=st.sampled_from([0.1, 0.5, 0.9]))
    def draw(self, part: float) -> None:
        """Pauses are shorter or longer from now on."""
        self.chance.part = part

    @rule(
        user=st.sampled_from(USERS),
        key=st.sampled_from(["", "key"]),
        expires=st.booleans(),
        unless_read=st.booleans(),
    )
    def create(self, user: str, key: str, *, expires: bool, unless_read: bool) -> None:
        """A newer one of a key replaces what waits, and what would be tried again."""
        now = self.world.now()
        further: dict[str, Any] = {"collapseKey": key} if key else {}
        if expires:
            further["expiresAt"] = now + EXPIRES_AFTER
        if unless_read:
            further["email"] = {"unlessRead": True}
        for other in self.model.values():
            if key and (other.user, other.key) == (user, key):
                is_carried = other.state == "pending" and other.lane == "carried"
                other.is_superseded |= other.state == "sending" or is_carried
                if other.state == "pending" and not is_carried:
                    other.end("cancelled", "superseded")
        made = self.run(self.world.create(user, category="news", **further))
        self.model[made] = Item(
            user, now, key=key, expires=further.get("expiresAt"), unless_read=unless_read, since=now
        )

    @rule(user=st.sampled_from(USERS), mode=st.sampled_from([Mode.ON, Mode.OFF, *sorted(DIGESTS)]))
    def prefer(self, user: str, mode: Mode) -> None:
        """A user wants it otherwise from now on; what waits is asked about when it is looked at."""
        self.run(self.preferences.set_entry(user, ("email", "news"), mode))
        self.modes[user] = mode

    @rule(which=st.sampled_from(sorted(OUTCOMES)))
    def work(self, which: str) -> None:
        """A worker takes what is due, and the far end does the same with all of it."""
        outcome = OUTCOMES[which]
        self.world.far_end.answer = lambda _: outcome
        worker = self.world.worker()
        # All of it is tried, however often the far end fails.
        worker._outlet.breaker = CircuitBreaker(failures=1_000)  # type: ignore[attr-defined]
        self.run(worker.drain())
        self.learn()
        for lane in ("", "digest"):
            self.batch(lane, outcome)

    def batch(self, lane: str, outcome: Outcome) -> None:
        """Expect what becomes of what is due in a lane."""
        now = self.world.now()
        items, digests = self.due(lane)
        singly, joining = list[ObjectId](), dict[str, list[Item]]()
        for key in items:
            item = self.model[key]
            item.take("own", now)
            if item.judge(now) and (mode := self.decide(item, now)) is not None:
                singly.append(key) if mode is Mode.ON else joining.setdefault(item.user, []).append(item)
        for digest in digests:
            self.digests[digest].take("own", now)
        gathering = {self.digests[key].user for key in digests if self.digests[key].gathering}
        ready = [key for key in digests if not self.digests[key].gathering]
        for user in sorted(gathering | joining.keys()):
            ready += self.gather(user, joining.get(user, []), now)
        for key in singly:
            self.model[key].mails += 1
            self.again(self.model[key], {"notificationId": key}, self.model[key].tell(outcome, now))
        for digest in ready:
            self.send(digest, outcome, now)

    def decide(self, item: Item, now: datetime) -> Mode | None:
        """Return ON for what goes by itself, a digest for what joins one now; None: it ends, or waits."""
        mode = self.modes[item.user]
        if mode is Mode.OFF:
            item.end("suppressed", "suppressed_preference")
            return None
        if mode in DIGESTS and (hour := next_after(Preferences(item.user), mode, item.since)) > now:
            item.wait(item.first(hour), "digest")
            item.digest_at = hour
            return None
        return mode

    def gather(self, user: str, joining: list[Item], now: datetime) -> list[str]:
        """Put what joins into the user's digest; return it if nothing can join it any more."""
        found = next((key for key, each in self.digests.items() if each.user == user and each.gathering), None)
        if found is None:
            # The one that is new since.
            found = self.unknown.pop(user)
            self.digests[found] = Digest(user, now, "sending", lease="own", lane="digest")
        digest = self.digests[found]
        theirs = [each for each in self.model.values() if each.user == user and each.lane == "digest"]
        if digest.lease == "own":
            joining = joining + [
                each
                for each in theirs
                if each.state == "pending" and each.digest_at is not None and each.digest_at <= now
            ]
        for each in joining:
            each.wait(now, "carried")
            each.digest, each.digest_at = found, None
        if digest.lease != "own":
            return []
        if any(each.state == "sending" and each.lease != "own" for each in theirs):
            digest.wait(now + PAUSE, "digest")
            return []
        digest.gathering = False
        return [found]

    def send(self, key: str, outcome: Outcome, now: datetime) -> None:
        """Expect what becomes of a digest that is about to be sent, and of what it carries."""
        digest, left = self.digests[key], "notification_gone"
        items = [each for each in self.model.values() if each.digest == key and each.state == "pending"]
        for each in items:
            if (why := each.left_out(now)) is not None:
                each.end(*why)
                each.digest, left = None, why[1]
        if not any(each.digest == key for each in items):
            digest.end("cancelled", left)
        elif digest.attempts >= ATTEMPTS:
            digest.end("failed", digest.reason)
        elif self.modes[digest.user] is Mode.OFF:
            digest.end("suppressed", "suppressed_preference")
        else:
            digest.mails += 1
            self.again(digest, {"_id": key}, digest.tell(outcome, now))
        self.follow(key)

    def follow(self, key: str) -> None:
        """Expect what a digest carries to be in its state."""
        digest = self.digests[key]
        if digest.state == "sending":
            return
        digest.gathering &= digest.state == "pending"
        for each in self.model.values():
            if each.digest != key:
                continue
            if digest.state == "pending":
                # It begins anew with its digest, unless it still waits for it.
                each.reason = each.reason if each.state == "pending" else None
                each.wait(each.due or self.world.now(), "carried")
            elif digest.state == "failed" and each.is_superseded:
                each.end("cancelled", "superseded")
                each.digest = None
            else:
                each.end(digest.state, digest.reason)

    @rule(lane=st.sampled_from([None, Lane.DIGEST]), most=st.sampled_from([1, 1_000]))
    def stall(self, lane: Lane | None, most: int) -> None:
        """A worker takes what is due, or some of it, and is heard of no more, or late."""
        lease = f"lease {len(self.stalled)}"
        self.stalled.append(lease)
        until = self.world.now() + LEASE
        items, digests = self.due(lane.value if lane else "")
        rows = self.run(self.world.outbox.claim("email", lease, most, LEASE, lane=lane))
        assert len(rows) == min(most, len(items) + len(digests))
        for row in rows:
            is_digest = row["kind"] == "digest"
            assert row["_id"] in digests if is_digest else row["notificationId"] in items
            taken = self.digests[row["_id"]] if is_digest else self.model[row["notificationId"]]
            taken.take(lease, until)

    @rule(which=st.sampled_from(sorted(OUTCOMES)))
    def come_back(self, which: str) -> None:
        """A worker that stalled tells what it did; of what others have taken over it changes nothing."""
        if not self.stalled:
            return
        lease, outcome, now = self.stalled.pop(), OUTCOMES[which], self.world.now()
        tries = [Try(outcome, now, now)]
        # What gathers still was not sent.
        rows = [row for row in self.run(self._rows()) if not row.get("gathering")]
        decide = {row["_id"]: lambda row: settling.settled(row, tries, ATTEMPTS, now) for row in rows}
        if not decide:
            return
        self.run(self.world.outbox.complete(lease, decide, {row.get("userId") for row in rows}))
        for item_key, item in self.model.items():
            if item.lease == lease and item.state == "sending":
                self.again(item, {"notificationId": item_key}, item.tell(outcome, now))
        for key, digest in self.digests.items():
            if digest.lease == lease and digest.state == "sending" and not digest.gathering:
                self.again(digest, {"_id": key}, digest.tell(outcome, now))
                self.follow(key)

    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        """What waits goes with its notification, unless that has expired; what is being sent is left to its worker."""
        if (key := self.one(number)) is None:
            return
        expected, now = self.model[key], self.world.now()
        is_there = not expected.is_gone and (expected.expires is None or expected.expires > now)
        assert self.run(self._delete(key)) == is_there
        if not is_there:
            return
        expected.is_gone = True
        if expected.state == "pending" and expected.lane != "carried":
            expected.end("cancelled", "notification_gone")

    async def _delete(self, key: ObjectId) -> bool:
        deleted = await self.world.feed.delete(key, {})
        if deleted is None:
            return False
        await self.world.outbox.cancel_of([key], deleted["userId"])
        return True

    @rule(number=NUMBERS)
    def queue_again(self, number: int) -> None:
        """Who runs the system has one that did not go tried anew, by itself; not of a notification that is gone."""
        if (key := self.one(number)) is None:
            return
        item, now = self.model[key], self.world.now()
        is_there = not item.is_gone and (item.expires is None or item.expires > now)
        done = self.steer(self.run(self.world.delivery(key))["_id"], RETRY)
        assert done == (item.state in MAY_BE_RETRIED and is_there)
        if done:
            item.begin_anew(item.first(now), "")
            item.since, item.digest = now, None

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        """Who runs the system takes one back, unless it may be on its way."""
        if (key := self.one(number)) is None:
            return
        item = self.model[key]
        is_leaving = item.digest is not None and self.digests[item.digest].state == "sending"
        may = item.state == "cancelled" or (item.state == "pending" and not is_leaving)
        assert self.steer(self.run(self.world.delivery(key))["_id"], CANCEL) == may
        if may and item.state == "pending":
            item.end("cancelled", "cancelled")
            item.digest = None

    @rule(number=NUMBERS, step=st.sampled_from([CANCEL, RETRY]))
    def steer_digest(self, number: int, step: SteeringStep) -> None:
        """The same with a digest: all that it carries follows."""
        if not self.digests:
            return
        key = sorted(self.digests)[number % len(self.digests)]
        digest, done = self.digests[key], self.steer(key, step)
        if step is CANCEL:
            assert done == (digest.state in ("pending", "cancelled"))
            if digest.state == "pending":
                digest.end("cancelled", "cancelled")
                self.follow(key)
            return
        assert done == (digest.state in MAY_BE_RETRIED)
        if done:
            digest.begin_anew(self.world.now(), "digest")
            self.follow(key)

    def steer(self, id_: str, step: SteeringStep) -> bool:
        """Carry out a step by hand; say whether it was not refused."""
        try:
            self.run(self.world.by_hand.steer(id_, step))
        except DeliveryStateConflict:
            return False
        return True

    @rule(number=NUMBERS)
    def read(self, number: int) -> None:
        """Its user reads it."""
        if (key := self.one(number)) is None:
            return
        self.run(self._read(key))
        self.model[key].is_read = True

    async def _read(self, key: ObjectId) -> None:
        await self.world.notifications.update_one({"_id": key}, {"$set": {"read": True}})

    @rule(
        user=st.sampled_from(USERS),
        number=st.integers(1, 3),
        which=st.sampled_from(sorted(OUTCOMES)),
        held=st.booleans(),
    )
    def spend_an_hour(self, user: str, number: int, which: str, *, held: bool) -> None:
        """What comes waits for its digest, if it is to; when that is due a worker may die with one of it in hand."""
        for _ in range(number):
            self.create(user, "", expires=False, unless_read=False)
        self.work("accepted")
        self.wait(timedelta(hours=1))
        if held:
            self.stall(Lane.DIGEST, 1)
        self.work(which)

    def one(self, number: int) -> ObjectId | None:
        """Return one of what there is."""
        return list(self.model)[number % len(self.model)] if self.model else None

    @rule(by=st.sampled_from(WAITS))
    def wait(self, by: timedelta) -> None:
        """Time passes."""
        self.world.clock.advance(by)

    def due(self, lane: str) -> tuple[list[ObjectId], list[str]]:
        """Return what a claim of a lane takes now: of digests nothing that came after what waits in no lane."""
        last = self.world.now()
        if lane:
            others = [each.due for each in self.model.values() if not each.lane and each.due and each.due <= last]
            last = min(others) - timedelta(milliseconds=1) if others else last

        def is_due(each: Expected) -> bool:
            return each.lane == lane and each.due is not None and each.due <= last

        items = [key for key, each in self.model.items() if is_due(each)]
        return items, [key for key, each in self.digests.items() if is_due(each)]

    def learn(self) -> None:
        """Look up the ids of new digests, of each user one at most."""
        rows = [row for row in self.run(self._rows()) if row["kind"] == "digest" and row["_id"] not in self.digests]
        self.unknown = {row["userId"]: row["_id"] for row in rows}
        assert len(self.unknown) == len(rows)

    def again(self, expected: Expected, query: dict[str, Any], between: tuple[datetime, datetime] | None) -> None:
        """Take over when a row is due again, after seeing that it is as it should be."""
        if between is None:
            return
        row = self.run(self._row(query))
        assert row["dueAt"] == row.get("expiresAt") or between[0] <= row["dueAt"] <= between[1]
        expected.due = row["dueAt"]

    async def _row(self, query: dict[str, Any]) -> dict[str, Any]:
        row = await self.world.rows.find_one(query)
        assert row is not None
        return row

    async def _rows(self) -> list[dict[str, Any]]:
        return [row async for row in self.world.rows.find({})]

    async def _sums(self) -> dict[ObjectId, str]:
        return {row["_id"]: row["delivery"]["state"] async for row in self.world.notifications.find({})}

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Every row, and how its notification sums it up; and each mail that was sent was to be."""
        rows = self.run(self._rows())
        items = {row["notificationId"]: row for row in rows if row["kind"] == "notification"}
        assert {key: _shown(row) for key, row in items.items()} == {
            key: (each.state, each.reason, each.attempts, each.lane, _due(each), each.digest)
            for key, each in self.model.items()
        }
        digests = {row["_id"]: row for row in rows if row["kind"] == "digest"}
        assert {key: (*_shown(row), row.get("gathering", False)) for key, row in digests.items()} == {
            key: (each.state, each.reason, each.attempts, each.lane, each.due, None, each.gathering)
            for key, each in self.digests.items()
        }
        told = {key: "pending" if each.state == "sending" else each.state for key, each in self.model.items()}
        assert self.run(self._sums()) == {key: told[key] for key, each in self.model.items() if not each.is_gone}
        assert all(("finishedAt" in row) != ("dueAt" in row) for row in rows)
        mails = Counter(self.world.far_end.sent())
        expected = {items[key]["_id"]: each.mails for key, each in self.model.items()}
        expected |= {key: each.mails for key, each in self.digests.items()}
        assert mails == {key: number for key, number in expected.items() if number}


def _due(item: Item) -> datetime | None:
    """Return when a row is due; whoever has its digest looks at one that is carried."""
    return None if item.lane == "carried" else item.due


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    lane = row.get("lane", "")
    due = None if lane == "carried" else row.get("dueAt")
    return row["state"], row.get("reason"), row["attempts"], lane, due, row.get("digestDeliveryId")


def check(database: MongoDatabase, monkeypatch: pytest.MonkeyPatch, examples: int, steps: int) -> None:
    """Try so many orders of so many steps.

    The order that fails is told as it was found, with a line that repeats it: a shorter one takes longer to find than a
    test may, whose end would then be told in its place.
    """
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.reuse, Phase.generate],
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    chance = Chance()
    monkeypatch.setattr("notifications_service.delivery.rules.random", chance)
    machine = type("Machine", (Deliveries,), {"database": database, "chance": chance})
    run_state_machine_as_test(machine, settings=limits)


def test_some_orders_end_as_the_rules_say(mongodb_database: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox and a model of a page agree on every row, its sum and its mails."""
    check(mongodb_database, monkeypatch, examples=4, steps=12)


# On a machine that does much else; its end in the middle of an order would be told as a flaw of the strategy.
@pytest.mark.timeout(1_500)
@pytest.mark.long
def test_any_order_ends_as_the_rules_say(mongodb_database: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, for many more orders."""
    check(mongodb_database, monkeypatch, examples=20, steps=40)
