"""The shortcut past protovalidate: it takes the hot requests, and never accepts what protovalidate refuses."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from protovalidate import Validator
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.notifications.v1.notification_pb2 import EmailChannel, NotificationContent
from vibework.users.v1 import account_service_pb2 as accounts_pb2
from vibework.users.v1 import session_service_pb2 as sessions_pb2
from vibework.users.v1 import user_service_pb2 as users_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb2

from chassis.interceptors.plain_rules import shortcut

VALIDATOR = Validator()


def create(**fields: Any) -> notifications_pb2.CreateNotificationRequest:
    """Make a request that is right, but for the fields given."""
    values: dict[str, Any] = {"title": "Hello", "message": "x", "type": 3} | fields
    content = NotificationContent(**values)
    return notifications_pb2.CreateNotificationRequest(user_id="user_1", content=content)


FILES = (sessions_pb2, users_pb2, accounts_pb2, verifications_pb2, notifications_pb2)
REQUESTS: list[Any] = [
    getattr(file, name) for file in FILES for name in file.DESCRIPTOR.message_types_by_name if name.endswith("Request")
]
TAKEN = [kind for kind in REQUESTS if shortcut(kind.DESCRIPTOR) is not None]


@pytest.mark.parametrize(
    "kind",
    [sessions_pb2.ValidateSessionRequest, users_pb2.GetUserRequest, notifications_pb2.CreateNotificationRequest],
)
def test_the_hot_requests_take_the_shortcut(kind: Any) -> None:
    """The look-ups by key, and creations, are what the shortcut is for."""
    assert kind in TAKEN


@pytest.mark.parametrize(
    "kind",
    [sessions_pb2.SignUpRequest, users_pb2.BatchGetUsersRequest, notifications_pb2.GetNotificationRequest],
)
def test_other_rules_go_to_protovalidate(kind: Any) -> None:
    """Formats, patterns and lists are not for the shortcut to judge."""
    assert kind not in TAKEN


@pytest.mark.parametrize(
    ("request_", "accepted"),
    [
        (sessions_pb2.ValidateSessionRequest(session_token="a" * 43), True),
        (sessions_pb2.ValidateSessionRequest(session_token="é" * 256), True),
        (sessions_pb2.ValidateSessionRequest(session_token="a" * 257), False),
        (sessions_pb2.ValidateSessionRequest(), False),
        (users_pb2.GetUserRequest(id="user_1"), True),
        (users_pb2.GetUserRequest(email="a@b"), True),
        (users_pb2.GetUserRequest(email="a" * 255), False),
        (users_pb2.GetUserRequest(email=""), False),
        (users_pb2.GetUserRequest(), False),
        (create(), True),
        (create(data=Struct(fields={"a": Value(number_value=1)})), True),
        (create(type=0), False),
        (create(type=9), False),
        (create(title=""), False),
        (create(urgency=1), True),
        # Right, and for protovalidate to say so: conditions, lists, patterns and times are not judged here.
        (create(type=1, email=EmailChannel(unless_read=True)), False),
        (create(channels=[1]), False),
        (create(collapse_key="a"), False),
        (create(scheduled_at=Timestamp(seconds=1)), False),
        (notifications_pb2.CreateNotificationRequest(user_id="u"), False),
    ],
)
def test_what_is_plain_is_judged(request_: Message, accepted: bool) -> None:
    """Lengths are counted in characters, one of the choices must be set, and so must what is required."""
    accept = shortcut(request_.DESCRIPTOR)
    assert accept is not None
    assert accept(request_) is accepted


@settings(deadline=None)
@given(st.data())
def test_what_the_shortcut_accepts_protovalidate_accepts(data: st.DataObject) -> None:
    """For any request of any type that takes the shortcut, the one judge would have said the same."""
    kind = data.draw(st.sampled_from(TAKEN))
    request = kind()
    for field in kind.DESCRIPTOR.fields:
        if data.draw(st.booleans()):
            _fill(request, field, data)
    accept = shortcut(kind.DESCRIPTOR)
    assert accept is not None
    if accept(request):
        assert VALIDATOR.collect_violations(request) == []


def _fill(request: Any, field: Any, data: st.DataObject) -> None:
    if field.message_type is not None:
        if not field.is_repeated:
            getattr(request, field.name).SetInParent()
            _fill_inner(getattr(request, field.name), field.message_type, data)
    elif field.type == field.TYPE_ENUM:
        _put(request, field, data.draw(st.sampled_from([0, 1, 2, 3, 4, 99])))
    elif field.type == field.TYPE_STRING:
        length = data.draw(st.sampled_from([0, 1, 7, 8, 64, 128, 254, 255, 256, 257, 1024, 1025, 2048, 5000]))
        _put(request, field, data.draw(st.sampled_from("aé😀 \0")) * length)


def _fill_inner(message: Any, kind: Any, data: st.DataObject) -> None:
    if kind.full_name.startswith("vibework."):
        for field in kind.fields:
            if data.draw(st.booleans()):
                _fill(message, field, data)


def _put(message: Any, field: Any, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)
