"""Conversion of requests: times between two milliseconds, numbers of JSON, sizes of batches."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest
from bson.datetime_ms import DatetimeMS
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from chassis.errors import InvalidFields
from chassis.slices import Slices
from notifications_service.feed import requests
from notifications_service.notification.documents import Type
from notifications_service.notification.states import Mark
from notifications_service.notification.times import floor
from tests.harness.clocks import stored_now

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("nanos", "below", "above"),
    [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1_000, 0, 1), (999_999, 0, 1), (1_000_000, 1, 1), (1_000_001, 1, 2)],
)
def test_a_time_between_two_milliseconds_is_rounded_to_its_meaning(nanos: int, below: int, above: int) -> None:
    """`as_of` includes what was created up to it; "from" and "before" it begin at the next whole millisecond."""
    time = Timestamp(seconds=5, nanos=nanos)
    found = requests.filter_of(service.NotificationFilter(created_after=time, created_before=time))
    assert floor(time) == EPOCH + timedelta(seconds=5, milliseconds=below)
    assert found.created_from == found.created_before == EPOCH + timedelta(seconds=5, milliseconds=above)


def test_the_ends_of_the_calendar_are_bounds() -> None:
    """The last moment of the year 9999 is after each time that can be stored, and the first one is a time, too."""
    first, last = Timestamp(seconds=FIRST_SECOND), Timestamp(seconds=LAST_SECOND, nanos=999_999_999)
    found = requests.filter_of(service.NotificationFilter(created_after=first, created_before=last))
    assert found.created_from == datetime(1, 1, 1)  # noqa: DTZ001
    assert found.created_before == DatetimeMS((LAST_SECOND + 1) * 1_000)
    assert floor(last) == datetime(9999, 12, 31, 23, 59, 59, 999_000)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("number", "stored"), [(1.0, 1), (-3.0, -3), (2.5, 2.5), (1e300, 1e300), (2.0**53, 2.0**53), (0.0, 0), (-0.0, -0.0)]
)
def test_whole_numbers_are_stored_as_such(number: float, stored: float) -> None:
    """As the source's own system does; what no integer holds exactly stays a float."""
    content = pb.NotificationContent(title="t", message="m", type=pb.NOTIFICATION_TYPE_PUSH)
    content.data.update({"number": number})
    draft = requests.draft("user", content, stored_now)
    assert draft.type is Type.PUSH
    assert draft.data == {"number": stored}
    found = (draft.data or {})["number"]
    assert type(found) is type(stored)
    assert math.copysign(1, found) == math.copysign(1, stored)


async def test_contents_that_alone_exceed_an_answer_are_refused_before_it_is_built() -> None:
    """A fan-out of a large content to many users must not take their memory first."""
    content = pb.NotificationContent(title="t" * 255, message="m" * 4_096, type=pb.NOTIFICATION_TYPE_EMAIL)
    fan_out = service.BatchCreateNotificationsRequest.FanOut(user_ids=["u", "v"], content=content)
    batch = service.BatchCreateNotificationsRequest(fan_out=fan_out)
    with pytest.raises(InvalidFields):
        await requests.drafts(batch, stored_now, 2 * content.ByteSize() - 1, Slices())
    assert len(await requests.drafts(batch, stored_now, 2 * content.ByteSize(), Slices())) == 2


def test_every_mark_and_type_of_the_contract_has_a_meaning() -> None:
    """No value of the enums is forgotten when one is added."""
    assert {requests.mark_of(number) for number in service.NotificationMark.values()[1:]} == set(Mark)
    for number in pb.NotificationType.values()[1:]:
        content = pb.NotificationContent(title="t", message="m")
        content.type = number
        assert requests.draft("user", content, stored_now).type in Type
