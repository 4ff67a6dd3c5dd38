"""Conversion of requests: times between two milliseconds, numbers of JSON, sizes of batches."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.errors import InvalidFields
from notifications_service.feed import requests
from notifications_service.notification.documents import Type
from notifications_service.notification.states import Mark
from tests.harness.clocks import stored_now

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("nanos", "floor", "ceiling"),
    [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1_000, 0, 1), (999_999, 0, 1), (1_000_000, 1, 1), (1_000_001, 1, 2)],
)
def test_a_time_between_two_milliseconds_is_rounded_to_its_meaning(nanos: int, floor: int, ceiling: int) -> None:
    """`as_of` includes what was created up to it; "from" and "before" it begin at the next whole millisecond."""
    time = Timestamp(seconds=5, nanos=nanos)
    found = requests.filter_of(service.NotificationFilter(created_after=time, created_before=time))
    assert requests.floor(time, "as_of") == EPOCH + timedelta(seconds=5, milliseconds=floor)
    assert found.created_from == found.created_before == EPOCH + timedelta(seconds=5, milliseconds=ceiling)


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=-(10**12)), Timestamp(seconds=10**12), Timestamp(nanos=-1), Timestamp(nanos=10**9)]
)
def test_a_time_that_is_none_is_a_violation_of_its_field(time: Timestamp) -> None:
    """A year beyond 1 to 9999 or nanoseconds beyond a second are the caller's mistake, not ours."""
    with pytest.raises(InvalidFields) as caught:
        requests.filter_of(service.NotificationFilter(created_before=time), "filters[3].")
    assert [violation.field for violation in caught.value.violations] == ["filters[3].created_before"]


@pytest.mark.parametrize(
    ("number", "stored"), [(1.0, 1), (-3.0, -3), (2.5, 2.5), (1e300, 1e300), (2.0**53, 2.0**53), (0.0, 0)]
)
def test_whole_numbers_are_stored_as_such(number: float, stored: float) -> None:
    """As the source's own system does; what no integer holds exactly stays a float."""
    content = service.NotificationContent(title="t", message="m", type=pb.NOTIFICATION_TYPE_PUSH)
    content.data.update({"number": number})
    draft = requests.draft("user", content, stored_now)
    assert draft.type is Type.PUSH
    assert draft.data == {"number": stored}
    assert type((draft.data or {})["number"]) is type(stored)


def test_contents_that_alone_exceed_an_answer_are_refused_before_it_is_built() -> None:
    """A fan-out of a large content to many users must not take their memory first."""
    content = service.NotificationContent(title="t" * 255, message="m" * 4_096, type=pb.NOTIFICATION_TYPE_EMAIL)
    fan_out = service.BatchCreateNotificationsRequest.FanOut(user_ids=["u", "v"], content=content)
    batch = service.BatchCreateNotificationsRequest(fan_out=fan_out)
    with pytest.raises(InvalidFields):
        requests.drafts(batch, stored_now, 2 * content.ByteSize() - 1)
    assert len(requests.drafts(batch, stored_now, 2 * content.ByteSize())) == 2


def test_every_mark_and_type_of_the_contract_has_a_meaning() -> None:
    """No value of the enums is forgotten when one is added."""
    assert {requests.mark_of(number) for number in service.NotificationMark.values()[1:]} == set(Mark)
    for number in pb.NotificationType.values()[1:]:
        content = service.NotificationContent(title="t", message="m")
        content.type = number
        assert requests.draft("user", content, stored_now).type in Type
