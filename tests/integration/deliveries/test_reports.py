"""ReportDeliveryEvent, ListSuppressions and DeleteSuppression: what providers say of mails, and whom it stops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2 as service
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed

from chassis.keyring import Keyring
from notifications_service.delivery.messages import STATE_TO_PROTO
from notifications_service.mongodb.database import Database
from notifications_service.suppressions.model import SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, Notifications, running_notifications, settings_for
from tests.harness.users import reason
from tests.integration.deliveries.rows import delivery, mailed, sum_of
from tests.integration.notifications.building import row as notification

BOUNCE, COMPLAINT = pb.SUPPRESSION_REASON_BOUNCE, pb.SUPPRESSION_REASON_COMPLAINT
HARD, SOFT, COMPLAINED = (
    service.DELIVERY_EVENT_HARD_BOUNCE,
    service.DELIVERY_EVENT_SOFT_BOUNCE,
    service.DELIVERY_EVENT_COMPLAINT,
)
AT_ONCE = 16
# Suppressions of one test.
MANY = 45


@pytest.fixture
def address(user_id: str) -> str:
    """An address that no other test has."""
    return f"{user_id}@example.com"


def sent(raw: Any, user_id: str, address: str, **fields: Any) -> dict[str, Any]:
    """Store a delivery whose mail was accepted, with its notification, and return it."""
    entry = mailed(address, provider_message_id=f"queued as {user_id}")
    row = delivery(user_id, **({"state": "sent", "sentAt": datetime.now(UTC), "log": [entry], "attempts": 1} | fields))
    raw.deliveries.insert_one(row)
    raw.notifications.insert_one(notification(user_id, _id=row["notificationId"], delivery=sum_of(row)))
    return row


def timestamp(time: datetime) -> Timestamp:
    """Convert a time."""
    made = Timestamp()
    made.FromDatetime(time)
    return made


async def active(database: MongoDatabase, address: str) -> frozenset[SuppressionReason]:
    """Return what stops mail to an address, as the worker asks."""
    opened = Database(settings_for(database))
    found = await SuppressionRepository(opened, Keyring.parse(SECRET_KEYS)).active([address], stored_now())
    await opened.close()
    return found.get(address, frozenset())


@pytest.mark.parametrize("by", ["delivery_id", "message_id", "brackets", "provider_message_id"])
async def test_a_bounce_ends_the_delivery_and_suppresses_the_address(
    notifications: Notifications, raw: Any, mongodb_module_database: MongoDatabase, user_id: str, by: str
) -> None:
    """Whatever the report names the mail by; said twice it changes nothing, also once somebody took the address off."""
    address, calls = f"{user_id}@example.com", notifications.deliveries
    row = sent(raw, user_id, address)
    subject = {
        "delivery_id": row["_id"],
        "message_id": f"{row['_id']}@mail.example.com",
        "brackets": f"<{row['_id']}@mail.example.com>",
        "provider_message_id": f"queued as {user_id}",
    }[by]
    name = "message_id" if by == "brackets" else by
    request = service.ReportDeliveryEventRequest(
        event=HARD, smtp_code=550, enhanced_status="5.1.1", detail=f"<{address}>: user unknown", **{name: subject}
    )
    told = await calls.ReportDeliveryEvent(request)
    assert (told.delivery.id, told.delivery.state) == (row["_id"], notification_pb2.DELIVERY_STATE_BOUNCED)
    assert told.delivery.reason == pb.DELIVERY_FAILURE_REASON_BOUNCED
    assert told.delivery.reason_detail == told.suppression.detail == "<u…@…com>: user unknown"
    assert (told.delivery.attempts[-1].smtp_code, told.delivery.attempts[-1].masked_address) == (550, "u…@…com")
    assert (told.suppression.reason, told.suppression.delivery_id) == (BOUNCE, row["_id"])
    assert told.suppression.expires_at.ToDatetime() - told.suppression.created_at.ToDatetime() == timedelta(days=30)
    shown = await notifications.feed.GetNotification(feed.GetNotificationRequest(id=str(row["notificationId"])))
    assert shown.notification.delivery_state == notification_pb2.DELIVERY_STATE_BOUNCED
    assert await active(mongodb_module_database, address) == {SuppressionReason.BOUNCE}
    await calls.DeleteSuppression(service.DeleteSuppressionRequest(email_address=address.upper()))
    assert await calls.ReportDeliveryEvent(request) == service.ReportDeliveryEventResponse(delivery=told.delivery)
    assert await active(mongodb_module_database, address) == frozenset()


async def test_a_complaint_counts_for_more_than_a_bounce(
    notifications: Notifications, raw: Any, mongodb_module_database: MongoDatabase, user_id: str, address: str
) -> None:
    """Whatever comes first, the delivery ends as complained of, and both stop the address, the complaint for good."""
    first, second = sent(raw, user_id, address), sent(raw, user_id, address)
    for row, events in ((first, (HARD, COMPLAINED)), (second, (COMPLAINED, HARD))):
        for event in events:
            request = service.ReportDeliveryEventRequest(delivery_id=row["_id"], event=event)
            told = await notifications.deliveries.ReportDeliveryEvent(request)
            assert told.HasField("suppression")
        assert told.delivery.state == notification_pb2.DELIVERY_STATE_COMPLAINED
    assert await active(mongodb_module_database, address) == set(SuppressionReason)
    asked = service.ListSuppressionsRequest(filter=service.SuppressionFilter(email_address=address))
    ends = {found.reason: found.HasField("expires_at") for found in await listed(notifications, asked)}
    assert ends == {BOUNCE: True, COMPLAINT: False}


async def test_a_soft_bounce_is_noted_once(
    notifications: Notifications, raw: Any, mongodb_module_database: MongoDatabase, user_id: str, address: str
) -> None:
    """It changes neither state nor list; a later one is another one, and none drives out whom the mail went to."""
    row, at = sent(raw, user_id, address), datetime.now(UTC) - timedelta(hours=1)
    told = service.ReportDeliveryEventResponse()
    for hours in (0, 0, 1, *range(2, 15)):
        request = service.ReportDeliveryEventRequest(
            delivery_id=row["_id"], event=SOFT, smtp_code=452, occurred_at=timestamp(at - timedelta(hours=hours))
        )
        told = await notifications.deliveries.ReportDeliveryEvent(request)
        assert not told.HasField("suppression")
        if hours == 1:
            assert [attempt.smtp_code for attempt in told.delivery.attempts] == [0, 452, 452]
    assert (told.delivery.state, told.delivery.attempt_count) == (STATE_TO_PROTO["sent"], 1)
    assert await active(mongodb_module_database, address) == frozenset()
    late = service.ReportDeliveryEventRequest(delivery_id=row["_id"], event=HARD)
    assert (await notifications.deliveries.ReportDeliveryEvent(late)).suppression.reason == BOUNCE
    assert await active(mongodb_module_database, address) == {SuppressionReason.BOUNCE}


async def test_of_reports_that_come_at_once_one_counts(
    notifications: Notifications, raw: Any, user_id: str, address: str
) -> None:
    """Sixteen of one bounce: one suppression, one more attempt, and the others are told how the delivery stands."""
    row = sent(raw, user_id, address)
    request = service.ReportDeliveryEventRequest(delivery_id=row["_id"], event=HARD)
    told = await asyncio.gather(*(notifications.deliveries.ReportDeliveryEvent(request) for _ in range(AT_ONCE)))
    assert sum(answer.HasField("suppression") for answer in told) == 1
    assert {answer.delivery.state for answer in told} == {notification_pb2.DELIVERY_STATE_BOUNCED}
    assert len(raw.deliveries.find_one({"_id": row["_id"]})["log"]) == 2


@pytest.mark.parametrize("subject", ["delivery_id", "message_id", "provider_message_id"])
async def test_what_is_not_known_here_changes_nothing(
    pymongo_notifications: Notifications, raw: Any, subject: str
) -> None:
    """A provider reports of all mails that go through it; ours alone are our business."""
    before = raw.suppressions.count_documents({})
    named: dict[str, Any] = {subject: "<somebody.elses@example.org>"}
    request = service.ReportDeliveryEventRequest(event=HARD, **named)
    told = await pymongo_notifications.deliveries.ReportDeliveryEvent(request)
    assert told == service.ReportDeliveryEventResponse()
    assert raw.suppressions.count_documents({}) == before


async def test_what_never_left_cannot_come_back(pymongo_notifications: Notifications, raw: Any, user_id: str) -> None:
    """A report of a delivery by push, or of one that was never tried, is answered with the delivery as it is."""
    for fields in ({"channel": "push", "log": [{"subscriptionId": "push_1"}]}, {"state": "pending", "log": []}):
        row = delivery(user_id, **fields)
        raw.deliveries.insert_one(row)
        request = service.ReportDeliveryEventRequest(delivery_id=row["_id"], event=HARD)
        told = await pymongo_notifications.deliveries.ReportDeliveryEvent(request)
        assert (told.delivery.state, told.HasField("suppression")) == (STATE_TO_PROTO[row.get("state", "sent")], False)


async def test_a_bounce_stops_what_would_be_tried_again(
    pymongo_notifications: Notifications, raw: Any, user_id: str, address: str
) -> None:
    """An attempt of which no outcome came may have been accepted: its bounce ends the delivery."""
    row = sent(raw, user_id, address, state="pending", dueAt=datetime.now(UTC) + timedelta(days=1))
    request = service.ReportDeliveryEventRequest(delivery_id=row["_id"], event=HARD)
    told = await pymongo_notifications.deliveries.ReportDeliveryEvent(request)
    assert told.delivery.state == notification_pb2.DELIVERY_STATE_BOUNCED
    assert "dueAt" not in raw.deliveries.find_one({"_id": row["_id"]})


async def test_a_report_of_an_address_alone_changes_the_list_alone(
    notifications: Notifications, mongodb_module_database: MongoDatabase, address: str
) -> None:
    """A soft bounce nothing, and a hard one begins a suppression that a later report renews, an older one does not."""
    calls, now = notifications.deliveries, datetime.now(UTC)

    async def report(event: service.DeliveryEvent.ValueType, days: int) -> service.ReportDeliveryEventResponse:
        at = timestamp(now + timedelta(days=days))
        return await calls.ReportDeliveryEvent(
            service.ReportDeliveryEventRequest(email_address=address, event=event, occurred_at=at)
        )

    assert await report(SOFT, 0) == service.ReportDeliveryEventResponse()
    assert not (await report(HARD, -31)).HasField("suppression"), "it has ended"
    assert await active(mongodb_module_database, address) == frozenset()
    assert (await report(HARD, -5)).suppression.email_address == address
    assert not (await report(HARD, -5)).HasField("suppression")
    assert not (await report(HARD, -6)).HasField("suppression")
    renewed = (await report(HARD, 3)).suppression
    assert renewed.created_at.ToDatetime(UTC) <= datetime.now(UTC), "a clock that is ahead suppresses no longer"
    assert await active(mongodb_module_database, address) == {SuppressionReason.BOUNCE}


async def listed(running: Notifications, request: service.ListSuppressionsRequest) -> list[pb.Suppression]:
    """Return all suppressions, page by page."""
    found: list[pb.Suppression] = []
    while True:
        page = await running.deliveries.ListSuppressions(request)
        found += page.suppressions
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_the_list_is_paged_filtered_and_counted(mongodb_database: MongoDatabase) -> None:
    """Newest first, each once, whatever the size of a page; totals agree with the lists."""
    now = datetime.now(UTC).replace(microsecond=0)
    async with running_notifications(mongodb_database) as running:
        for number in range(MANY):
            await running.deliveries.ReportDeliveryEvent(
                service.ReportDeliveryEventRequest(
                    email_address=f"user{number}@example.com",
                    event=COMPLAINED if number % 3 == 0 else HARD,
                    occurred_at=timestamp(now - timedelta(seconds=number // 4)),
                )
            )
        everything = [f"user{number}@example.com" for number in range(MANY)]
        cases: list[tuple[service.SuppressionFilter, list[str]]] = [
            (service.SuppressionFilter(), everything),
            (service.SuppressionFilter(reasons=[COMPLAINT]), everything[::3]),
            (service.SuppressionFilter(created_after=timestamp(now - timedelta(seconds=2))), everything[:12]),
            (service.SuppressionFilter(created_before=timestamp(now)), everything[4:]),
            (service.SuppressionFilter(email_address=" USER7@example.com"), everything[7:8]),
            (service.SuppressionFilter(email_address="user7@example.com", reasons=[COMPLAINT]), []),
            (service.SuppressionFilter(email_address="nobody"), []),
        ]
        for wanted, expected in cases:
            request = service.ListSuppressionsRequest(filter=wanted, page_size=7)
            found = await listed(running, request)
            assert sorted(item.email_address for item in found) == sorted(expected), wanted
            times = [item.created_at.ToDatetime() for item in found]
            assert times == sorted(times, reverse=True)
            total = service.ListSuppressionsRequest(filter=wanted, include_total=True)
            assert (await running.deliveries.ListSuppressions(total)).total_size == len(expected)


async def test_an_address_is_taken_off_the_list(
    notifications: Notifications, mongodb_module_database: MongoDatabase, address: str
) -> None:
    """For one reason or for all; what is not there is told, unless that is meant."""
    calls = notifications.deliveries
    for event in (HARD, COMPLAINED):
        await calls.ReportDeliveryEvent(service.ReportDeliveryEventRequest(email_address=address, event=event))
    await calls.DeleteSuppression(service.DeleteSuppressionRequest(email_address=address, reason=BOUNCE))
    assert await active(mongodb_module_database, address) == {SuppressionReason.COMPLAINT}
    await calls.DeleteSuppression(service.DeleteSuppressionRequest(email_address=f" {address.upper()}"))
    assert await active(mongodb_module_database, address) == frozenset()
    again = service.DeleteSuppressionRequest(email_address=address)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls.DeleteSuppression(again)
    assert reason(caught.value) == "SUPPRESSION_NOT_FOUND"
    assert address not in str(caught.value.details())
    again.allow_missing = True
    await calls.DeleteSuppression(again)


async def test_a_proof_lifts_only_bounces_of_before(notifications: Notifications, address: str) -> None:
    """What is told late lifts no suppression that began since, and never a complaint; told twice it is no error."""
    calls = notifications.deliveries
    proved = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
    lift = service.DeleteSuppressionRequest(
        email_address=address, reason=BOUNCE, allow_missing=True, created_before=timestamp(proved)
    )

    async def report(event: service.DeliveryEvent.ValueType, at: datetime) -> None:
        await calls.ReportDeliveryEvent(
            service.ReportDeliveryEventRequest(email_address=address, event=event, occurred_at=timestamp(at))
        )

    async def reasons() -> set[pb.SuppressionReason.ValueType]:
        chosen = service.SuppressionFilter(email_address=address)
        listed = await calls.ListSuppressions(service.ListSuppressionsRequest(filter=chosen))
        return {each.reason for each in listed.suppressions}

    await report(HARD, proved - timedelta(minutes=1))
    await report(COMPLAINED, proved - timedelta(minutes=1))
    for _ in range(2):
        await calls.DeleteSuppression(lift)
        assert await reasons() == {COMPLAINT}
    await report(HARD, proved)
    await calls.DeleteSuppression(lift)
    assert await reasons() == {BOUNCE, COMPLAINT}
    lift.allow_missing = False
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls.DeleteSuppression(lift)
    assert reason(caught.value) == "SUPPRESSION_NOT_FOUND"
