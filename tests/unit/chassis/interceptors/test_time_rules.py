"""Rules of times: in every message, at every depth, and all at once."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from vibework.notifications.v1 import notification_service_pb2 as feed
from vibework.users.v1 import imported_user_pb2 as imported
from vibework.users.v1 import session_service_pb2 as sessions
from vibework.users.v1 import user_service_pb2 as users

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from chassis.errors import InvalidFields
from chassis.interceptors.time_rules import TimeRules
from chassis.interceptors.validation import check_of

GOOD = [(FIRST_SECOND, 0), (LAST_SECOND, 999_999_999), (0, 0), (-1, 999_999_999)]
BAD = {
    "TIMESTAMP_YEARS": [(FIRST_SECOND - 1, 0), (LAST_SECOND + 1, 0), (-(2**63), 0), (2**63 - 1, -(2**31))],
    "TIMESTAMP_NANOS": [(0, -1), (0, -5), (0, 1_000_000_000), (LAST_SECOND, 2_000_000_000), (FIRST_SECOND, -(2**31))],
}
SPANS = {
    "": [(1, 0), (300, 0), (30, 999_999_999)],
    "DURATION_SECONDS": [(315_576_000_001, 0), (-(2**63), 0), (2**63 - 1, 0)],
    "DURATION_NANOS": [(2, -5), (2, 2_000_000_000), (-2, 5), (0, -(2**31))],
}


def violations(request: Any) -> list[tuple[str, str]]:
    """Return the fields and reasons of a request's violations."""
    try:
        check_of(type(request))(request)
    except InvalidFields as error:
        return [(violation.field, violation.reason) for violation in error.violations]
    return []


@pytest.mark.parametrize(("seconds", "nanos"), GOOD)
def test_both_ends_of_the_calendar_are_times(seconds: int, nanos: int) -> None:
    """The first and the last moment that a Timestamp can say are accepted, as what they are."""
    time = Timestamp(seconds=seconds, nanos=nanos)
    wanted = users.UserFilter(created_after=time, created_before=time)
    assert violations(users.ListUsersRequest(filter=wanted)) == []


@pytest.mark.parametrize(
    ("reason", "seconds", "nanos"), [(name, *time) for name, times in BAD.items() for time in times]
)
def test_what_no_timestamp_says_is_refused(reason: str, seconds: int, nanos: int) -> None:
    """Seconds and nanos beyond those of the type's definition are named, in all libraries' stead."""
    time = Timestamp(seconds=seconds, nanos=nanos)
    assert violations(users.ListUsersRequest(filter=users.UserFilter(created_after=time))) == [
        ("filter.created_after", reason)
    ]


@pytest.mark.parametrize(
    ("reason", "seconds", "nanos"), [(name, *time) for name, times in SPANS.items() for time in times]
)
def test_what_no_duration_says_is_refused(reason: str, seconds: int, nanos: int) -> None:
    """A span whose parts contradict each other is neither rounded nor passed on to the field's own rule."""
    request = feed.WatchNotificationsRequest(user_id="u", heartbeat_interval=Duration(seconds=seconds, nanos=nanos))
    assert violations(request) == ([("heartbeat_interval", reason)] if reason else [])


def test_wrong_times_are_told_with_all_other_violations() -> None:
    """At any depth, in lists, too, and beside what protovalidate finds: a caller mends a request once."""
    wrong = Timestamp(nanos=-1)
    filters = [feed.NotificationFilter(), feed.NotificationFilter(created_after=wrong, created_before=wrong)]
    assert violations(feed.CountNotificationsRequest(filters=filters)) == [
        ("filters[1].created_after", "TIMESTAMP_NANOS"),
        ("filters[1].created_before", "TIMESTAMP_NANOS"),
        ("user_id", "STRING_MIN_LEN"),
    ]


def test_a_request_keeps_its_wrong_times() -> None:
    """Whoever logs or counts a refused request sees what came."""
    request = users.ListUsersRequest(filter=users.UserFilter(created_after=Timestamp(nanos=-1)))
    assert violations(request)
    assert request.filter.created_after.nanos == -1


def test_a_type_without_times_has_no_rules() -> None:
    """Requests without times pay nothing; JSON, whose type contains itself, holds none."""
    assert not TimeRules(sessions.ValidateSessionRequest.DESCRIPTOR)
    assert TimeRules(feed.CreateNotificationRequest.DESCRIPTOR)


def test_items_that_are_judged_one_by_one_are_left_to_that() -> None:
    """A request is not refused for one of its users; each of them is looked at by the rules of its own type."""
    user = imported.ImportedUser(id="a", email="a@example.com", created_at=Timestamp(nanos=-1))
    assert violations(users.ImportUsersRequest(users=[user])) == []
    assert violations(user) == [("created_at", "TIMESTAMP_NANOS")]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_time_is_accepted_where_json_can_say_it(seconds: int, nanos: int) -> None:
    """protobuf's own JSON, which refuses invalid times, agrees with the rule for all of them."""
    time = Timestamp(seconds=seconds, nanos=nanos)
    try:
        time.ToJsonString()
        expected = True
    except ValueError:
        expected = False
    request = users.ListUsersRequest(filter=users.UserFilter(created_after=time))
    assert (violations(request) == []) is expected
