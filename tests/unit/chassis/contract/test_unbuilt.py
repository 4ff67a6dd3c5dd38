"""Unbuilt fields: found at any depth, in lists and in choices, and nothing besides."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_pb2 import NotificationContent

from chassis.contract.unbuilt import UnbuiltFields, refusal
from chassis.errors import NotImplementedYet

CONTENT: dict[str, Any] = {"title": "t", "message": "m", "data": {"critical": True}}
FIELDS: UnbuiltFields = {
    NotificationContent: ("email", "channels", "critical"),
    pb.WatchNotificationsRequest: ("resume_token",),
}


def first_of(kind: type[Any], request: dict[str, Any]) -> str | None:
    """Return the field that a request is refused for."""
    refuse = refusal(kind, FIELDS)
    assert refuse is not None
    try:
        refuse(json_format.ParseDict(request, kind()))
    except NotImplementedYet as error:
        return error.metadata["field"]
    return None


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (
            {"items": {"items": [{"content": CONTENT}, {"content": {**CONTENT, "email": {}}}]}},
            "items.items[1].content.email",
        ),
        ({"items": {"items": [{"content": {**CONTENT, "channels": [1]}}]}}, "items.items[0].content.channels"),
        ({"fanOut": {"content": {**CONTENT, "critical": True}}}, "fan_out.content.critical"),
        ({"fanOut": {"content": CONTENT}}, None),
        ({"items": {"items": [{"content": {**CONTENT, "channels": [], "critical": False}}]}}, None),
        ({}, None),
    ],
)
def test_a_field_that_is_set_is_named_by_its_path(request_: dict[str, Any], field: str | None) -> None:
    """Set is what differs from not being there, as for every other reader of the request."""
    assert first_of(pb.BatchCreateNotificationsRequest, request_) == field


def test_a_member_of_a_choice_is_set_even_when_empty() -> None:
    """It is what the caller chose."""
    assert first_of(pb.WatchNotificationsRequest, {"resumeToken": ""}) == "resume_token"
    assert first_of(pb.WatchNotificationsRequest, {"snapshot": {}}) is None


def test_a_request_without_such_fields_has_no_check() -> None:
    """It pays nothing for them."""
    assert refusal(pb.GetNotificationRequest, FIELDS) is None
