"""Digests: what a user wants together becomes one mail at its hour, and each item is in exactly one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from notifications_service.delivery import digesting
from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.delivery.steering import CANCEL
from notifications_service.delivery.worker import BATCH
from notifications_service.errors import DeliveryStateConflict
from notifications_service.outbox import digests as digests_stored
from notifications_service.outbox import following, model
from notifications_service.outbox.model import Lane, Reason
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.digest_times import next_after
from notifications_service.preferences.model import Mode, Preferences, QuietSpan, span
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.suppressions.model import Suppression, SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.users_client import Addressee
from tests.harness.delivering import ATTEMPTS, LEASE, Delivering, FarEnd

HOURLY, DAILY = Mode.DIGEST_HOURLY, Mode.DIGEST_DAILY
SOON = timedelta(milliseconds=1)
LATER = Outcome(Reason.REJECTED_TEMPORARY, smtp_code=451)
REFUSED = Outcome(Reason.REJECTED_PERMANENT, final=True, smtp_code=550)


@pytest.fixture
def delivering(delivering: Delivering) -> Delivering:
    """The same at noon: no digest of a day is due within the hours of a test.

    Tomorrow's: ahead of MongoDB, which so deletes nothing that expires in a test.
    """
    delivering.clock.advance(timedelta(days=1))
    delivering.clock.now = delivering.clock.now.replace(hour=12, minute=10)
    return delivering


def preferences(delivering: Delivering) -> PreferencesRepository:
    """Return the preferences of the database."""
    return PreferencesRepository(delivering.database, delivering.now)


async def want(delivering: Delivering, user_id: str, mode: Mode, category: str = "news") -> None:
    """Have a user want a category in this mode."""
    await preferences(delivering).set_entry(user_id, ("email", category), mode)


async def create(delivering: Delivering, user_id: str, number: int, **further: Any) -> list[ObjectId]:
    """Store so many notifications of the category, and let a worker put them off."""
    keys = [await delivering.create(user_id, category="news", **further) for _ in range(number)]
    await delivering.worker().drain()
    return keys


def to_the_hour(delivering: Delivering, mode: Mode = HOURLY) -> None:
    """Let time pass until the hour of the next digest."""
    due = next_after(Preferences(""), mode, delivering.now())
    delivering.clock.advance(due - delivering.now() + SOON)


async def rows_of(delivering: Delivering, keys: Sequence[ObjectId]) -> list[dict[str, Any]]:
    """Return the deliveries of notifications, in order."""
    return [await delivering.delivery(key) for key in keys]


async def digests(delivering: Delivering) -> list[dict[str, Any]]:
    """Return all digests, oldest first."""
    return [row async for row in delivering.rows.find({"kind": "digest"}).sort("_id", 1)]


@pytest.mark.parametrize("mode", [HOURLY, DAILY])
async def test_what_waits_becomes_one_mail_at_its_hour(delivering: Delivering, mode: Mode) -> None:
    """Not before; items name the digest and are sent with it, and their notifications sum that up."""
    await want(delivering, "ann", mode)
    keys = await create(delivering, "ann", 3)
    hour = next_after(Preferences("ann"), mode, delivering.now())
    for row in await rows_of(delivering, keys):
        assert (row["state"], row["deferral"], row["dueAt"], row["attempts"]) == ("pending", "digest", hour, 0)
    assert delivering.far_end.mails == []
    to_the_hour(delivering, mode)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    (digest,) = await digests(delivering)
    assert (mail.delivery_id, mail.to, mail.subject) == (digest["_id"], "ann@example.com", "3 new notifications")
    assert (digest["state"], digest["attempts"], digest["category"]) == ("sent", 1, "news")
    for row in await rows_of(delivering, keys):
        assert (row["state"], row["digestDeliveryId"], row["attempts"]) == ("sent", digest["_id"], 0)
        assert row["sentAt"] == digest["sentAt"]
        assert not {"dueAt", "lane", "lease", "deferral"} & row.keys()
    assert {await delivering.summed(key) for key in keys} == {"sent"}


async def test_each_user_and_category_has_a_digest_of_its_own(delivering: Delivering) -> None:
    """Also what has no category; what nobody wants together goes by itself."""
    for category in ("news", "billing", ""):
        await want(delivering, "ann", HOURLY, category)
    await want(delivering, "bob", HOURLY)
    await CategoriesRepository(delivering.database, delivering.now).put("billing", {"title": "Your bills"}, "")
    for user_id in ("ann", "bob"):
        for category in ("news", "billing", ""):
            await delivering.create(user_id, category=category)
            await delivering.create(user_id, category=category)
    await delivering.worker().drain()
    assert sorted(mail.to for mail in delivering.far_end.mails) == ["bob@example.com"] * 4
    delivering.far_end.mails.clear()
    to_the_hour(delivering)
    await delivering.worker().drain()
    sent = sorted((mail.to, mail.subject) for mail in delivering.far_end.mails)
    assert sent == [
        ("ann@example.com", "2 new notifications"),
        ("ann@example.com", "2 new notifications"),
        ("ann@example.com", "Your bills: 2 new notifications"),
        ("bob@example.com", "2 new notifications"),
    ]


async def test_the_mail_says_what_is_new_in_the_language_of_its_user(delivering: Delivering) -> None:
    """The newest first, with a link that unsubscribes from the category; in another language as well."""
    await want(delivering, "ann", HOURLY)
    await preferences(delivering).update("ann", {"locale": "pt-BR"}, "")
    for number in range(2):
        [key] = await create(delivering, "ann", 1)
        await delivering.notifications.update_one({"_id": key}, {"$set": {"title": f"Title {number}\n<b>"}})
        delivering.clock.advance(SOON)
    to_the_hour(delivering)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert mail.subject == "2 novas notificações"
    assert mail.text.index("Title 1 <b>") < mail.text.index("Title 0 <b>")
    assert "Title 1 &lt;b&gt;" in mail.html
    assert mail.unsubscribe_url
    assert mail.unsubscribe_url in mail.text


async def test_what_must_not_wait_does_not(delivering: Delivering) -> None:
    """What is critical or of a mandatory category goes at once, whatever its user wants."""
    await want(delivering, "ann", DAILY, "")
    await CategoriesRepository(delivering.database, delivering.now).put("terms", {"title": "T", "mandatory": True}, "")
    urgent, terms = await delivering.create("ann", critical=True), await delivering.create("ann", category="terms")
    await delivering.worker().drain()
    assert [row["state"] for row in await rows_of(delivering, [urgent, terms])] == ["sent", "sent"]


async def test_what_becomes_critical_waits_no_longer(delivering: Delivering) -> None:
    """An update makes it go at once, and by itself."""
    await want(delivering, "ann", DAILY)
    [key, _] = await create(delivering, "ann", 2)
    await delivering.notifications.update_one({"_id": key}, {"$set": {"critical": True}})
    await delivering.outbox.follow({"_id": key, "userId": "ann", "category": "news", "critical": True})
    await delivering.worker().drain()
    assert [mail.delivery_id for mail in delivering.far_end.mails] == [(await delivering.delivery(key))["_id"]]


async def test_what_is_not_wanted_any_more_is_left_out(delivering: Delivering) -> None:
    """Read where that was asked, deleted, expired: the mail counts the rest, and each says what became of it."""
    await want(delivering, "ann", HOURLY)
    later = delivering.now() + timedelta(days=1)
    first = [await delivering.create("ann", category="news", expiresAt=later) for _ in range(2)]
    read, unread = [await delivering.create("ann", category="news", email={"unlessRead": True}) for _ in range(2)]
    seen = await delivering.create("ann", category="news")
    expired = await delivering.create("ann", category="news", expiresAt=delivering.now() + timedelta(milliseconds=5))
    await delivering.worker().drain()
    for key in (read, seen):
        await delivering.notifications.update_one({"_id": key}, {"$set": {"read": True}})
    await delivering.notifications.delete_one({"_id": first[0]})
    to_the_hour(delivering)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert mail.subject == "3 new notifications"
    rows = await rows_of(delivering, [first[0], read, expired])
    assert [(row["state"], row["reason"]) for row in rows] == [
        ("cancelled", "notification_gone"),
        ("cancelled", "read"),
        ("expired", "expired"),
    ]
    assert not any("digestDeliveryId" in row for row in rows)
    for row in await rows_of(delivering, [first[1], unread, seen]):
        assert (row["state"], row["digestDeliveryId"]) == ("sent", mail.delivery_id)


@pytest.mark.parametrize(("mode", "state"), [(Mode.OFF, "suppressed"), (Mode.ON, "sent"), (DAILY, "pending")])
async def test_the_mode_is_read_again_at_the_hour(delivering: Delivering, mode: Mode, state: str) -> None:
    """Switched off meanwhile, nothing goes; switched on, each by itself; a longer digest is waited for."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 3)
    await want(delivering, "ann", mode)
    delivering.clock.advance(timedelta(hours=1))
    await delivering.worker().drain()
    rows = await rows_of(delivering, keys)
    assert {row["state"] for row in rows} == {state}
    assert sorted(delivering.far_end.sent()) == sorted(row["_id"] for row in rows if state == "sent")
    assert await digests(delivering) == []
    if mode is DAILY:
        assert {row["dueAt"] for row in rows} == {next_after(Preferences("ann"), DAILY, rows[0]["createdAt"])}


async def test_a_mail_tells_fifty_and_how_many_more(delivering: Delivering) -> None:
    """And all of them are sent with it."""
    await want(delivering, "ann", HOURLY)
    await delivering.create_many(["ann"] * 53, category="news")
    await delivering.worker().drain()
    to_the_hour(delivering)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert mail.subject == "53 new notifications"
    assert mail.text.count("* Title") == 50
    assert "And 3 more." in mail.text
    assert "And 3 more." in mail.html
    assert await delivering.rows.count_documents({"state": "sent", "digestDeliveryId": mail.delivery_id}) == 53


async def test_quiet_hours_go_before_the_hour_of_a_digest(delivering: Delivering) -> None:
    """It is sent at their end, as one mail."""
    await want(delivering, "ann", DAILY)
    eight = next_after(Preferences("ann"), DAILY, delivering.now())
    quiet = [span(QuietSpan(7 * 60, 9 * 60))]
    await preferences(delivering).update("ann", {"quietHours": quiet}, "")
    delivering.clock.advance(eight - delivering.now() - timedelta(hours=2))
    keys = await create(delivering, "ann", 2)
    nine = eight + timedelta(hours=1)
    assert [(row["dueAt"], row["deferral"]) for row in await rows_of(delivering, keys)] == [(nine, "digest")] * 2
    delivering.clock.advance(timedelta(hours=2))
    await delivering.worker().drain()
    assert delivering.far_end.mails == []
    delivering.clock.advance(timedelta(hours=1))
    await delivering.worker().drain()
    assert [mail.subject for mail in delivering.far_end.mails] == ["2 new notifications"]


GONE, DISABLED = None, Addressee("ann", "ann@example.com", is_verified=True, is_disabled=True)


@pytest.mark.parametrize(
    ("user", "ends"),
    [
        (GONE, ("cancelled", "user_gone")),
        (DISABLED, ("suppressed", "user_disabled")),
        (Addressee("ann"), ("failed", "no_address")),
        (Addressee("ann", "ann@example.com"), ("failed", "address_unverified")),
    ],
)
async def test_the_user_decides_as_of_the_hour(
    delivering: Delivering, user: Addressee | None, ends: tuple[str, str]
) -> None:
    """Deleted, disabled, without an address: no digest is made, and each item says why."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 2)
    if user is None:
        delivering.users.gone.add("ann")
    else:
        delivering.users.others["ann"] = user
    to_the_hour(delivering)
    await delivering.worker().drain()
    assert [(row["state"], row["reason"]) for row in await rows_of(delivering, keys)] == [ends] * 2
    assert delivering.far_end.mails == []


async def test_while_nobody_can_say_who_it_is_for_it_stays_one_digest(delivering: Delivering) -> None:
    """The users service away at the hour: whenever it is back, one mail goes."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 5)
    to_the_hour(delivering)
    delivering.users.refuses = True
    await delivering.worker().drain()
    rows = await rows_of(delivering, keys)
    assert {(row["state"], row["deferral"], row["attempts"]) for row in rows} == {("pending", "users_service_down", 0)}
    delivering.users.refuses = False
    delivering.clock.advance(min(row["dueAt"] for row in rows) - delivering.now())
    await delivering.worker().drain()
    assert [mail.subject for mail in delivering.far_end.mails] == ["5 new notifications"]


async def test_a_digest_is_tried_again_and_its_items_follow(delivering: Delivering) -> None:
    """Refused for now, the same mail goes later; refused for good, all its items fail with it."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 2)
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    (digest,) = await digests(delivering)
    assert (digest["state"], digest["deferral"], digest["attempts"]) == ("pending", "retry", 1)
    rows = await rows_of(delivering, keys)
    assert [(row["state"], row["digestDeliveryId"]) for row in rows] == [("pending", digest["_id"])] * 2
    # What comes meanwhile goes into the next.
    await create(delivering, "ann", 1)
    delivering.far_end.answer = lambda _: REFUSED
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    await delivering.worker().drain()
    assert delivering.far_end.sent() == [digest["_id"]] * 2
    ended = [(row["state"], row["reason"]) for row in [*await rows_of(delivering, keys), *await digests(delivering)]]
    assert ended == [("failed", "rejected_permanent")] * 3
    assert {await delivering.summed(key) for key in keys} == {"failed"}


async def test_a_digest_whose_items_are_all_gone_is_not_sent(delivering: Delivering) -> None:
    """It ends with the reason of the last of them."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 2, email={"unlessRead": True})
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    await delivering.notifications.update_many({}, {"$set": {"read": True}})
    (digest,) = await digests(delivering)
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    await delivering.worker().drain()
    assert len(delivering.far_end.mails) == 1
    ended = [(row["state"], row["reason"]) for row in [*await rows_of(delivering, keys), *await digests(delivering)]]
    assert ended == [("cancelled", "read")] * 3


async def test_a_newer_one_of_the_same_key_replaces_what_waits_for_a_digest(delivering: Delivering) -> None:
    """At once while it waits; in a digest that is tried again it is left out the next time."""
    await want(delivering, "ann", HOURLY)
    [first] = await create(delivering, "ann", 1, collapseKey="score")
    [second] = await create(delivering, "ann", 1, collapseKey="score")
    [other] = await create(delivering, "ann", 1)
    row = await delivering.delivery(first)
    assert (row["state"], row["reason"]) == ("cancelled", "superseded")
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    [third] = await create(delivering, "ann", 1, collapseKey="score")
    delivering.far_end.answer = FarEnd().answer
    (digest,) = await digests(delivering)
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    await delivering.worker().drain()
    assert [mail.subject for mail in delivering.far_end.mails] == ["2 new notifications", "1 new notification"]
    row = await delivering.delivery(second)
    assert (row["state"], row["reason"]) == ("cancelled", "superseded")
    assert [row["state"] for row in await rows_of(delivering, [other, third])] == ["sent", "pending"]


async def test_an_update_moves_it_to_the_digest_of_its_new_category(delivering: Delivering) -> None:
    """Also out of a digest that waits for its next attempt."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 2)
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    await delivering.notifications.update_one({"_id": keys[0]}, {"$set": {"category": "billing"}})
    await delivering.outbox.follow({"_id": keys[0], "userId": "ann", "category": "billing"})
    delivering.far_end.answer = FarEnd().answer
    (digest,) = await digests(delivering)
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    await delivering.worker().drain()
    moved, stayed = await rows_of(delivering, keys)
    assert (moved["state"], moved.get("digestDeliveryId")) == ("sent", None)
    assert (stayed["state"], stayed["digestDeliveryId"]) == ("sent", digest["_id"])
    assert sorted(delivering.far_end.sent()[1:]) == sorted([digest["_id"], moved["_id"]])


async def test_a_deleted_notification_goes_from_what_waits_at_once(delivering: Delivering) -> None:
    """And from a digest that carries it when that is sent next."""
    await want(delivering, "ann", HOURLY)
    [waits] = await create(delivering, "ann", 1)
    await delivering.feed.delete(waits, {})
    await delivering.outbox.cancel_of([waits], "ann")
    assert (await delivering.delivery(waits))["reason"] == "notification_gone"
    keys = await create(delivering, "ann", 2)
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    await delivering.feed.delete(keys[0], {})
    await delivering.outbox.cancel_of([keys[0]], "ann")
    delivering.far_end.answer = FarEnd().answer
    (digest,) = await digests(delivering)
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    await delivering.worker().drain()
    assert delivering.far_end.mails[-1].subject == "1 new notification"
    assert [row["state"] for row in await rows_of(delivering, keys)] == ["cancelled", "sent"]


@pytest.mark.parametrize("number", [260, pytest.param(5_000, marks=pytest.mark.long)])
async def test_a_digest_of_very_many_is_put_together_and_followed_in_parts(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One mail all the same, and all of them are sent with it."""
    if number < digests_stored.BATCH:
        monkeypatch.setattr(digests_stored, "BATCH", 50)
        monkeypatch.setattr(following, "BATCH", 50)
        monkeypatch.setattr(digesting, "PAGE", 50)
    await want(delivering, "ann", HOURLY)
    for start in range(0, number, 500):
        await delivering.create_many(["ann"] * min(500, number - start), category="news")
    await delivering.worker().drain()
    to_the_hour(delivering)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert mail.subject == f"{number} new notifications"
    (digest,) = await digests(delivering)
    assert "followAt" not in digest
    assert await delivering.rows.count_documents({"state": "sent", "digestDeliveryId": mail.delivery_id}) == number
    assert await delivering.notifications.count_documents({"delivery.state": "sent"}) == number


async def test_workers_at_one_hour_make_one_digest(delivering: Delivering) -> None:
    """Of one user's items each has some in hand; whoever is last sends them all."""
    for user_id in ("ann", "bob"):
        await want(delivering, user_id, HOURLY)
        await delivering.create_many([user_id] * 40, category="news")
    await delivering.worker().drain()
    to_the_hour(delivering)
    ends = [FarEnd() for _ in range(4)]
    batches = [await delivering.outbox.claim("email", f"dead {n}", 7, LEASE, lane=Lane.DIGEST) for n in range(2)]
    await asyncio.gather(*(delivering.worker(end).drain() for end in ends))
    # Two workers have died with items in hand, so the others wait for these.
    assert not [mail for end in ends for mail in end.mails if mail.to.startswith("ann")]
    assert sum(map(len, batches)) == 14
    delivering.clock.advance(LEASE + timedelta(seconds=1))
    await asyncio.gather(*(delivering.worker(end).drain() for end in ends))
    delivering.clock.advance(timedelta(seconds=2))
    await asyncio.gather(*(delivering.worker(end).drain() for end in ends))
    mails: list[Mail] = [mail for end in ends for mail in end.mails]
    assert sorted((mail.to, mail.subject) for mail in mails) == [
        ("ann@example.com", "40 new notifications"),
        ("bob@example.com", "40 new notifications"),
    ]
    assert await delivering.rows.count_documents({"kind": "notification", "state": "sent"}) == 80


@pytest.mark.long
async def test_digests_of_one_hour_keep_nothing_else_waiting(delivering: Delivering) -> None:
    """What goes by itself takes turns with them; they go in the order in which they were due."""
    users = [f"user_{number}" for number in range(250)]
    for user_id in users:
        await want(delivering, user_id, HOURLY)
    await delivering.create_many(users, category="news")
    await delivering.worker().drain()
    to_the_hour(delivering)
    worker = delivering.worker()
    await worker._round()
    await delivering.create("eve")
    await worker.drain()
    sent = [mail.to for mail in delivering.far_end.mails]
    assert sorted(sent) == sorted(f"{user_id}@example.com" for user_id in [*users, "eve"])
    # The batch that was in hand when it came, and at most one more.
    assert sent.index("eve@example.com") <= 2 * BATCH
    assert await delivering.rows.count_documents({"kind": "digest", "state": "sent"}) == len(users)


async def test_digests_wait_for_what_may_join_them(delivering: Delivering) -> None:
    """After workers were down at the hour, what nobody had looked at goes into the same digest."""
    await want(delivering, "ann", HOURLY)
    await create(delivering, "ann", 2)
    hour = next_after(Preferences("ann"), HOURLY, delivering.now())
    delivering.clock.advance(hour - delivering.now() - SOON)
    late = await delivering.create("ann", category="news")
    delivering.clock.advance(timedelta(minutes=20))
    # A worker whose turn are the digests.
    worker = delivering.worker()
    worker._lanes.reverse()
    await worker.drain()
    assert [mail.subject for mail in delivering.far_end.mails] == ["3 new notifications"]
    assert (await delivering.delivery(late))["digestDeliveryId"] == delivering.far_end.mails[0].delivery_id


async def test_a_digest_that_is_poisonous_to_us_holds_up_no_other(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be put together is tried again, and given up in the end; all else of the batch goes."""
    for user_id in ("ann", "bob", "poison"):
        await want(delivering, user_id, HOURLY)
        await create(delivering, user_id, 2)
    to_the_hour(delivering)
    begin = model.digest

    def burst(user_id: str, category: str | None, at: datetime) -> dict[str, Any]:
        if user_id == "poison":
            raise RuntimeError("a fault of ours")
        return begin(user_id, category, at)

    monkeypatch.setattr(model, "digest", burst)
    for _ in range(ATTEMPTS):
        await delivering.worker().drain()
        delivering.clock.advance(timedelta(minutes=5))
    assert {mail.to for mail in delivering.far_end.mails} == {"ann@example.com", "bob@example.com"}
    ended = [(row["state"], row.get("reason")) async for row in delivering.rows.find({"userId": "poison"})]
    assert ended == [("failed", "internal")] * 2


async def test_the_address_of_a_digest_may_be_suppressed(delivering: Delivering) -> None:
    """Then all that was to go says so."""
    await want(delivering, "ann", HOURLY)
    keys = await create(delivering, "ann", 2)
    suppressions = SuppressionRepository(delivering.database, delivering.keyring)
    new = Suppression("ann@example.com", SuppressionReason.BOUNCE, delivering.now())
    await delivering.database.transaction(lambda session: suppressions.put_in(session, new))
    to_the_hour(delivering)
    await delivering.worker().drain()
    await suppressions.delete("ann@example.com", list(SuppressionReason), delivering.now())
    assert {(row["state"], row["reason"]) for row in await rows_of(delivering, keys)} == {
        ("suppressed", "suppressed_address")
    }
    assert delivering.far_end.mails == []


@pytest.mark.parametrize("turn", range(4))
async def test_an_item_is_cancelled_or_in_the_mail_and_never_both(delivering: Delivering, turn: int) -> None:
    """Whoever comes first: a worker that sends its digest again, or a call; the mail counts what is left."""
    user_id, items = f"ann_{turn}", 6
    await want(delivering, user_id, HOURLY)
    keys = await create(delivering, user_id, items)
    to_the_hour(delivering)
    delivering.far_end.answer = lambda _: LATER
    await delivering.worker().drain()
    delivering.far_end.answer = FarEnd().answer
    (digest,) = await digests(delivering)
    delivering.clock.advance(digest["dueAt"] - delivering.now())
    ids = [row["_id"] for row in await rows_of(delivering, keys)]

    async def cancel(number: int) -> bool:
        await asyncio.sleep(0.002 * number * turn)
        try:
            await delivering.by_hand.steer(ids[number], CANCEL)
        except DeliveryStateConflict:
            return False
        return True

    cancelled = await asyncio.gather(*map(cancel, range(items)), delivering.worker().drain())
    left = items - sum(map(bool, cancelled[:items]))
    states = [row["state"] for row in await rows_of(delivering, keys)]
    assert states == ["cancelled" if each else "sent" for each in cancelled[:items]]
    told = [mail.subject for mail in delivering.far_end.mails[1:]]
    assert told == ([f"{left} new notification{'s' if left > 1 else ''}"] if left else [])
