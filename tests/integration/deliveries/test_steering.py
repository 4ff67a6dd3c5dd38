"""CancelDelivery, RetryDelivery and their batches: which states lead where, races with workers, and many rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from vibework.errors.v1 import ErrorReason
from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2 as service
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed

from chassis.context import deadline
from chassis.errors import DatabaseUnavailable
from notifications_service.delivery import service as delivery_service
from notifications_service.delivery.messages import STATE_TO_PROTO
from notifications_service.delivery.service import DeliveryService
from notifications_service.mongodb.database import Database
from notifications_service.outbox.repository import OutboxRepository
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import reason
from tests.integration.deliveries.rows import delivery, mailed, sum_of
from tests.integration.notifications.building import row as notification

CANCELLED, PENDING = notification_pb2.DELIVERY_STATE_CANCELLED, notification_pb2.DELIVERY_STATE_PENDING
MAY_BE_CANCELLED = {"scheduled", "pending", "cancelled"}
MAY_BE_RETRIED = {"failed", "cancelled", "suppressed"}
STATES = sorted(name for name in STATE_TO_PROTO if name)
AT_ONCE = 16
LEASE = timedelta(minutes=1)
ROWS = 95
MANY = 3_000
# What is left of a call's time when a batch begins that takes longer.
LAST_SECONDS = 0.2


def insert(raw: Any, user_id: str, **fields: Any) -> dict[str, Any]:
    """Store a delivery with its notification, which sums it up, and return it."""
    row = delivery(user_id, **fields)
    raw.deliveries.insert_one(row)
    raw.notifications.insert_one(notification(user_id, _id=row["notificationId"], delivery=sum_of(row)))
    return row


async def summed(running: Notifications, row: dict[str, Any]) -> int:
    """Return the state by which the notification sums its deliveries up."""
    request = feed.GetNotificationRequest(id=str(row["notificationId"]))
    return (await running.feed.GetNotification(request)).notification.delivery_state


@pytest.mark.parametrize("state", STATES)
async def test_what_has_not_been_sent_can_be_cancelled(
    notifications: Notifications, raw: Any, user_id: str, state: str
) -> None:
    """It is never sent then, and the notification says so; a repeat is answered alike; all else is a conflict."""
    row, calls = insert(raw, user_id, state=state), notifications.deliveries
    request = service.CancelDeliveryRequest(id=row["_id"])
    if state not in MAY_BE_CANCELLED:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls.CancelDelivery(request)
        assert reason(caught.value) == "DELIVERY_STATE_CONFLICT"
        assert raw.deliveries.find_one({"_id": row["_id"]})["rev"] == 1
        return
    first = (await calls.CancelDelivery(request)).delivery
    assert first.state == await summed(notifications, row) == CANCELLED
    assert first.HasField("finished_at")
    assert not first.HasField("deferred_until")
    assert "dueAt" not in raw.deliveries.find_one({"_id": row["_id"]})
    assert (await calls.CancelDelivery(request)).delivery == first


@pytest.mark.parametrize("state", STATES)
async def test_what_failed_can_be_queued_again(
    notifications: Notifications, raw: Any, user_id: str, state: str
) -> None:
    """It is due at once, with its attempts at zero; what was tried stays to be seen; all else is a conflict."""
    before = {"reason": "timeout", "reasonDetail": "x", "attempts": 8, "log": [mailed("ann@example.com")]}
    row, calls = insert(raw, user_id, state=state, **before), notifications.deliveries
    request = service.RetryDeliveryRequest(id=row["_id"])
    if state in MAY_BE_RETRIED:
        queued = (await calls.RetryDelivery(request)).delivery
        assert queued.state == await summed(notifications, row) == PENDING
        assert (queued.attempt_count, queued.reason, queued.reason_detail, len(queued.attempts)) == (0, 0, "", 1)
        assert not queued.HasField("finished_at")
        assert raw.deliveries.find_one({"_id": row["_id"]})["dueAt"] <= stored_now()
    # Of two that retry, the second finds it queued.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls.RetryDelivery(request)
    assert reason(caught.value) == "DELIVERY_STATE_CONFLICT"


@pytest.mark.parametrize("gone", ["deleted", "retention", "expired"])
async def test_what_carries_nothing_any_longer_is_not_queued(
    pymongo_notifications: Notifications, raw: Any, user_id: str, gone: str
) -> None:
    """A notification that is not in the feed is not sent by hand, either."""
    row = insert(raw, user_id, state="failed")
    key, now = {"_id": row["notificationId"]}, datetime.now(UTC)
    if gone == "deleted":
        raw.notifications.delete_one(key)
    else:
        field, span = {"retention": ("createdAt", 31), "expired": ("expiresAt", 1)}[gone]
        raw.notifications.update_one(key, {"$set": {field: now - timedelta(days=span)}})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.deliveries.RetryDelivery(service.RetryDeliveryRequest(id=row["_id"]))
    assert reason(caught.value) == "DELIVERY_STATE_CONFLICT"


async def test_a_cancel_that_races_a_claim_has_one_winner(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Sixteen calls and sixteen workers at once: each row is the worker's or cancelled, as its call was told."""
    rows = [insert(raw_of_own, "u", dueAt=datetime.now(UTC) - timedelta(minutes=1)) for _ in range(AT_ONCE)]
    database = Database(settings_for(mongodb_database))
    outbox = OutboxRepository(database, stored_now)

    async def cancel(running: Notifications, id_: str) -> str:
        try:
            await running.deliveries.CancelDelivery(service.CancelDeliveryRequest(id=id_))
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return ""

    async with running_notifications(mongodb_database, **NO_WORKER) as running:
        claims = [outbox.claim("email", f"lease_{number}", AT_ONCE // 4, LEASE) for number in range(AT_ONCE)]
        told, claimed = await asyncio.gather(
            asyncio.gather(*(cancel(running, row["_id"]) for row in rows)), asyncio.gather(*claims)
        )
    await database.close()
    taken = [row["_id"] for part in claimed for row in part]
    assert len(taken) == len(set(taken))
    for row, answer in zip(rows, told, strict=True):
        state = raw_of_own.deliveries.find_one({"_id": row["_id"]})["state"]
        assert (state, row["_id"] in taken) == (("sending", True) if answer else ("cancelled", False))
        assert answer in {"", "DELIVERY_STATE_CONFLICT"}
        sum_ = raw_of_own.notifications.find_one({"_id": row["notificationId"]})["delivery"]["state"]
        assert sum_ == ("pending" if answer else "cancelled")


async def test_a_batch_says_of_each_id_what_became_of_it(
    notifications: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the request: what was changed, what was so before, what must not be, what is not there."""
    monkeypatch.setattr(delivery_service, "STEER_BATCH", 3)
    states = ["pending", "sent", "cancelled", "pending", "sending"]
    ids = [insert(raw, user_id, state=state)["_id"] for state in states] + ["dlv_nobodys"]
    request = service.BatchCancelDeliveriesRequest(ids=service.BatchCancelDeliveriesRequest.Ids(ids=ids))
    done = await notifications.deliveries.BatchCancelDeliveries(request)
    assert (done.changed_count, done.incomplete) == (2, False)
    conflict, gone = "DELIVERY_STATE_CONFLICT", "DELIVERY_NOT_FOUND"
    assert [(outcome.id, STATES_BY_NUMBER[outcome.state], why(outcome)) for outcome in done.outcomes] == [
        (ids[0], "cancelled", ""),
        (ids[1], "sent", conflict),
        (ids[2], "cancelled", ""),
        (ids[3], "cancelled", ""),
        (ids[4], "sending", conflict),
        (ids[5], None, gone),
    ]
    retry = service.BatchRetryDeliveriesRequest(ids=service.BatchRetryDeliveriesRequest.Ids(ids=ids[:3]))
    again = await notifications.deliveries.BatchRetryDeliveries(retry)
    assert again.changed_count == 2
    assert [why(outcome) for outcome in again.outcomes] == ["", conflict, ""]


STATES_BY_NUMBER = {number: name for name, number in STATE_TO_PROTO.items()}
# These tests claim by themselves.
NO_WORKER: dict[str, Any] = {}


def why(outcome: service.DeliveryOutcome) -> str:
    """Return the reason why a delivery was left as it is."""
    return ErrorReason.Name(outcome.reason).removeprefix("ERROR_REASON_").replace("UNSPECIFIED", "")


async def test_a_batch_by_filter_takes_what_matches_and_may_be_changed(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """What is sent or being sent stays as it is, and so does what another filter would name."""
    mine = [insert(raw, user_id, state=state) for state in STATES]
    other = insert(raw, f"{user_id}_other")
    chosen = pb.DeliveryFilter(user_id=user_id)
    done = await notifications.deliveries.BatchCancelDeliveries(service.BatchCancelDeliveriesRequest(filter=chosen))
    assert (done.changed_count, list(done.outcomes), done.incomplete) == (2, [], False)
    left = {row["_id"]: raw.deliveries.find_one({"_id": row["_id"]})["state"] for row in mine}
    assert [left[row["_id"]] for row in mine] == [
        "cancelled" if row["state"] in MAY_BE_CANCELLED else row["state"] for row in mine
    ]
    assert raw.deliveries.find_one({"_id": other["_id"]})["state"] == "pending"
    chosen.states.append(notification_pb2.DELIVERY_STATE_SENT)
    done = await notifications.deliveries.BatchCancelDeliveries(service.BatchCancelDeliveriesRequest(filter=chosen))
    assert done.changed_count == 0


async def to_the_end(call: Callable[[], Awaitable[Any]]) -> int:
    """Repeat a call that ends early where its time is up, until it was done; return how many it has changed in all."""
    changed = 0
    while True:
        done = await call()
        changed += int(done.changed_count)
        if not done.incomplete:
            return changed


@pytest.mark.long
async def test_thousands_are_cancelled_and_queued_again(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Each once, in batches, and each notification sums its own up; what has none any longer is left."""
    rows = [delivery(user_id, createdAt=datetime.now(UTC) - timedelta(milliseconds=n // 7)) for n in range(MANY)]
    raw.deliveries.insert_many(rows)
    feed_rows = [notification(user_id, _id=row["notificationId"], delivery=sum_of(row)) for row in rows[:-5]]
    raw.notifications.insert_many(feed_rows)
    chosen = pb.DeliveryFilter(user_id=user_id)
    cancel = service.BatchCancelDeliveriesRequest(filter=chosen)
    assert await to_the_end(lambda: notifications.deliveries.BatchCancelDeliveries(cancel)) == MANY
    sums = {"userId": user_id, "delivery.state": "cancelled", "delivery.byChannel.email.state": "cancelled"}
    assert raw.notifications.count_documents(sums) == MANY - 5
    retry = service.BatchRetryDeliveriesRequest(filter=chosen)
    assert await to_the_end(lambda: notifications.deliveries.BatchRetryDeliveries(retry)) == MANY - 5
    assert raw.deliveries.count_documents({"userId": user_id, "state": "pending", "rev": 3}) == MANY - 5


@pytest.mark.sampled(2)
@pytest.mark.parametrize("ends", ["time", "database", "process"])
@pytest.mark.parametrize("by", ["ids", "filter"])
async def test_whatever_ends_a_batch_early_it_says_what_was_done(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: pytest.MonkeyPatch, by: str, ends: str
) -> None:
    """Time that runs out, a database that goes, a process that ends: an exact number, and the same call goes on."""
    monkeypatch.setattr(delivery_service, "STEER_BATCH", 10)
    ids = [insert(raw_of_own, "user")["_id"] for _ in range(ROWS)]
    request = service.BatchCancelDeliveriesRequest(filter=pb.DeliveryFilter(user_id="user"))
    if by == "ids":
        request = service.BatchCancelDeliveriesRequest(ids=service.BatchCancelDeliveriesRequest.Ids(ids=ids))
    async with running_notifications(mongodb_database) as running:
        batch, begun = DeliveryService._steer, 0

        async def failing(self: DeliveryService, *arguments: Any) -> Any:
            nonlocal begun
            begun += 1
            if begun == 4 and ends == "database":
                raise DatabaseUnavailable
            if begun == 4 and ends == "time":
                # It takes longer than the call may: the caller is answered meanwhile.
                with deadline.within(LAST_SECONDS):
                    await self._database.run(lambda: asyncio.sleep(PATIENCE_SECONDS))
            done = await batch(self, *arguments)
            if begun == 3 and ends == "process":
                running.server.draining.set()
            return done

        monkeypatch.setattr(DeliveryService, "_steer", failing)
        done = await running.deliveries.BatchCancelDeliveries(request, timeout=PATIENCE_SECONDS)
        assert (done.changed_count, done.incomplete) == (30, True)
        assert [outcome.id for outcome in done.outcomes] == (ids[:30] if by == "ids" else [])
        assert raw_of_own.deliveries.count_documents({"state": "pending"}) == ROWS - 30
        running.server.draining.clear()
        done = await running.deliveries.BatchCancelDeliveries(request, timeout=PATIENCE_SECONDS)
        assert (done.changed_count, done.incomplete) == (ROWS - 30, False)


async def test_a_batch_takes_what_comes_while_it_runs(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling all is about those, too, that are created after it has begun."""
    monkeypatch.setattr(delivery_service, "STEER_BATCH", 10)
    for _ in range(25):
        insert(raw_of_own, "user")
    batch, begun = DeliveryService._steer, 0

    async def coming(self: DeliveryService, *arguments: Any) -> Any:
        nonlocal begun
        begun += 1
        if begun == 2:
            insert(raw_of_own, "user")
        return await batch(self, *arguments)

    monkeypatch.setattr(DeliveryService, "_steer", coming)
    async with running_notifications(mongodb_database) as running:
        request = service.BatchCancelDeliveriesRequest(filter=pb.DeliveryFilter(user_id="user"))
        done = await running.deliveries.BatchCancelDeliveries(request)
    assert (done.changed_count, done.incomplete) == (26, False)
