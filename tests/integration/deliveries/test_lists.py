"""GetDelivery, ListDeliveries and CountDeliveries, against a plain model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2 as service
from vibework.notifications.v1 import notification_pb2

from notifications_service.delivery import messages
from notifications_service.notification.words import TYPE_TO_PROTO
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.users import reason
from tests.integration.deliveries.rows import HASHES, OPEN, delivery, mailed

FILTERS = 150
ROWS = 120
STATES = {name: number for name, number in messages.STATE_TO_PROTO.items() if name}
ADDRESSES = ["ann@example.com", "bob@example.com"]
AT_ADDRESS = pb.DeliveryFilter(email_address=ADDRESSES[0])
# Numbers of deliveries on a page.
ASKED = [1, 7, 100]


def rows_of_all_kinds() -> list[dict[str, Any]]:
    """Make rows that differ in everything that a filter asks for, several in each millisecond."""
    chance, now = random.Random(7), datetime.now(UTC).replace(microsecond=0)
    notifications = [ObjectId() for _ in range(ROWS // 3)]
    rows = []
    for _ in range(ROWS):
        state, address = chance.choice(sorted(STATES)), chance.choice(ADDRESSES)
        optional = {
            "category": chance.choice(["billing", "social", None]),
            "reason": chance.choice(["bounced", "read", "timeout", None]),
            "deferral": chance.choice(["retry", "delay", None]) if state in OPEN else None,
            "log": chance.choice([[mailed(address)], [mailed(address), mailed(ADDRESSES[0])], None]),
        }
        due = now + timedelta(hours=chance.choice([-1, 1]))
        rows.append(
            delivery(
                chance.choice(["user_a", "user_b"]),
                notificationId=chance.choice(notifications),
                kind=chance.choice(["notification", "digest"]),
                channel=chance.choice(["email", "push"]),
                state=state,
                createdAt=now - timedelta(minutes=1, milliseconds=chance.randrange(40)),
                **({"dueAt": due} if state in OPEN else {}),
                **{name: value for name, value in optional.items() if value is not None},
            )
        )
    return rows


def a_filter(chance: random.Random, rows: list[dict[str, Any]]) -> pb.DeliveryFilter:
    """Make a filter of some of the eleven conditions."""
    made = pb.DeliveryFilter()
    given = chance.sample(range(11), chance.choice([0, 1, 1, 2, 3]))
    texts = {0: ("user_id", "user_a"), 1: ("email_address", " Ann@Example.com")}
    several: dict[int, tuple[str, list[Any]]] = {
        2: ("notification_ids", [str(row["notificationId"]) for row in chance.sample(rows, 9)]),
        3: ("states", list(STATES.values())),
        4: ("channels", [notification_pb2.NOTIFICATION_TYPE_EMAIL, notification_pb2.NOTIFICATION_TYPE_IN_APP]),
        5: ("reasons", [messages.REASON_TO_PROTO["bounced"], messages.REASON_TO_PROTO["read"]]),
        6: ("kinds", [pb.DELIVERY_KIND_DIGEST]),
        7: ("deferrals", [pb.DELIVERY_DEFERRAL_RETRY]),
        8: ("categories", ["billing", "$state"]),
    }
    for number in given:
        if number in texts:
            setattr(made, *texts[number])
        elif number in several:
            name, values = several[number]
            getattr(made, name).extend(dict.fromkeys(chance.sample(values, chance.randint(1, len(values)))))
        else:
            time: Timestamp = made.created_after if number == 9 else made.created_before
            time.FromDatetime(chance.choice(rows)["createdAt"])
            time.nanos += chance.choice([0, 1])
    return made


def expected(rows: list[dict[str, Any]], wanted: pb.DeliveryFilter) -> list[str]:
    """The plain model of a filter and of the order."""

    def matches(row: dict[str, Any]) -> bool:
        waits = row["state"] in {"pending", "scheduled"} and row["dueAt"] > datetime.now(UTC)
        deferral = messages.DEFERRAL_TO_PROTO[row["deferral"]] if waits and "deferral" in row else 0
        hashes = {bytes(entry["addressHash"]) for entry in row.get("log", ())}
        at = Timestamp()
        at.FromDatetime(row["createdAt"])
        return (
            wanted.user_id in {"", row["userId"]}
            and (not wanted.notification_ids or str(row["notificationId"]) in wanted.notification_ids)
            and (not wanted.states or STATES[row["state"]] in wanted.states)
            and (not wanted.channels or TYPE_TO_PROTO[row["channel"]] in wanted.channels)
            and (not wanted.reasons or messages.REASON_TO_PROTO.get(row.get("reason", "")) in wanted.reasons)
            and (not wanted.kinds or messages.KIND_TO_PROTO[row["kind"]] in wanted.kinds)
            and (not wanted.deferrals or deferral in wanted.deferrals)
            and (not wanted.categories or row.get("category") in wanted.categories)
            and (not wanted.email_address or HASHES.of(wanted.email_address) in hashes)
            and (not wanted.HasField("created_after") or at.ToNanoseconds() >= wanted.created_after.ToNanoseconds())
            and (not wanted.HasField("created_before") or at.ToNanoseconds() < wanted.created_before.ToNanoseconds())
        )

    found = sorted(filter(matches, rows), key=lambda row: (row["createdAt"], row["_id"]), reverse=True)
    return [row["_id"] for row in found]


@pytest.fixture
def stored(raw: Any) -> Iterator[list[dict[str, Any]]]:
    """Rows of all kinds, and nothing else."""
    rows = rows_of_all_kinds()
    raw.deliveries.insert_many(rows)
    yield rows
    raw.deliveries.delete_many({})


@pytest.mark.long
async def test_every_filter_lists_and_counts_what_the_model_says(
    pymongo_notifications: Notifications, stored: list[dict[str, Any]]
) -> None:
    """Whatever conditions are put together: the right rows in the right order, and as many in count and total."""
    calls, chance = pymongo_notifications.deliveries, random.Random(11)
    filters = [a_filter(chance, stored) for _ in range(FILTERS)]
    for wanted in filters:
        request = service.ListDeliveriesRequest(filter=wanted, page_size=100, include_total=True)
        page = await calls.ListDeliveries(request)
        ids = expected(stored, wanted)
        assert [found.id for found in page.deliveries] == ids[:100], wanted
        assert page.total_size == len(ids), wanted
        assert bool(page.next_page_token) == (len(ids) > 100)
    for twenty in (filters[start : start + 20] for start in range(0, FILTERS, 20)):
        counted = await calls.CountDeliveries(service.CountDeliveriesRequest(filters=twenty))
        assert counted.counts == [len(expected(stored, wanted)) for wanted in twenty]
    assert (await calls.CountDeliveries(service.CountDeliveriesRequest())).counts == [ROWS]


@pytest.mark.parametrize("size", ASKED)
@pytest.mark.parametrize(
    "wanted", [pb.DeliveryFilter(), pb.DeliveryFilter(email_address=ADDRESSES[0])], ids=["all", "at"]
)
async def test_pages_join_into_the_whole_list(
    notifications: Notifications, stored: list[dict[str, Any]], size: int, wanted: pb.DeliveryFilter
) -> None:
    """Each row is there once, in order, though many share a millisecond, and a page's last row may be gone."""
    request, found = service.ListDeliveriesRequest(page_size=size, filter=wanted), list[str]()
    while True:
        page = await notifications.deliveries.ListDeliveries(request)
        found += [each.id for each in page.deliveries]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == expected(stored, wanted)


async def test_a_delivery_says_what_is_stored(pymongo_notifications: Notifications, raw: Any) -> None:
    """Every field of the contract is that of the row; of another user it is not found; a mask cuts the rest off."""
    calls, now = pymongo_notifications.deliveries, datetime.now(UTC)
    attempt = mailed("ann@example.com", smtp_code=451, enhanced_status="4.7.1", provider_message_id="q1")
    row = delivery(
        "user_1",
        category="billing",
        reason="timeout",
        reasonDetail="no answer",
        attempts=3,
        log=[attempt, {"startedAt": now, "subscriptionId": "push_1", "httpStatus": 201}],
        deferral="retry",
        expiresAt=now + timedelta(days=2),
        collapseKey="k",
        critical=True,
    )
    raw.deliveries.insert_one(row)
    found = (await calls.GetDelivery(service.GetDeliveryRequest(id=row["_id"], user_id="user_1"))).delivery
    assert (found.id, found.kind, found.user_id) == (row["_id"], pb.DELIVERY_KIND_NOTIFICATION, "user_1")
    assert (found.notification_id, found.channel) == (str(row["notificationId"]), TYPE_TO_PROTO["email"])
    assert (found.category, found.collapse_key, found.critical) == ("billing", "k", True)
    assert (found.state, found.deferral) == (STATES["pending"], pb.DELIVERY_DEFERRAL_RETRY)
    assert (found.reason, found.reason_detail) == (pb.DELIVERY_FAILURE_REASON_TIMEOUT, "no answer")
    assert (found.attempt_count, found.max_attempts) == (3, 8)
    assert found.deferred_until.ToDatetime(UTC) > now
    assert not found.HasField("finished_at")
    first, second = found.attempts
    assert (first.masked_address, first.smtp_code, first.enhanced_status) == ("a…@…com", 451, "4.7.1")
    assert (first.provider_message_id, second.push_subscription_id, second.http_status) == ("q1", "push_1", 201)
    masked = service.GetDeliveryRequest(id=row["_id"], read_mask=FieldMask(paths=["state"]))
    assert (await calls.GetDelivery(masked)).delivery == pb.Delivery(state=found.state)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls.GetDelivery(service.GetDeliveryRequest(id=row["_id"], user_id="user_2"))
    assert reason(caught.value) == "DELIVERY_NOT_FOUND"


async def test_what_ended_before_the_retention_is_not_shown(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Until the sweeper comes it is in no list and no count; one that is still open is, however old."""
    long_ago = datetime.now(UTC) - timedelta(days=31)
    old, open_ = delivery("u", state="sent", createdAt=long_ago), delivery("u", createdAt=long_ago)
    # The sweeper of the database must not come first.
    raw_of_own.deliveries.drop_index("finishedAt_1")
    raw_of_own.deliveries.insert_many([old, open_])
    async with running_notifications(mongodb_database) as running:
        page = await running.deliveries.ListDeliveries(service.ListDeliveriesRequest(include_total=True))
        assert ([found.id for found in page.deliveries], page.total_size) == ([open_["_id"]], 1)
        with pytest.raises(grpc.aio.AioRpcError):
            await running.deliveries.GetDelivery(service.GetDeliveryRequest(id=old["_id"]))


@pytest.mark.parametrize("state", ["sending", "sent"])
async def test_the_end_of_a_lease_is_no_deferral(pymongo_notifications: Notifications, raw: Any, state: str) -> None:
    """A delivery that is being sent, or was, waits for nothing, whatever it waited for before."""
    row = delivery("u", state=state, deferral="retry")
    raw.deliveries.insert_one(row)
    found = await pymongo_notifications.deliveries.GetDelivery(service.GetDeliveryRequest(id=row["_id"]))
    assert (found.delivery.deferral, found.delivery.HasField("deferred_until")) == (0, False)
