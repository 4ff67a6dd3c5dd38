"""Requests and rows that are right, but for what a test gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from google.protobuf.struct_pb2 import Struct
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service


def struct(**values: Any) -> Struct:
    """Make a Struct."""
    made = Struct()
    made.update(values)
    return made


def create(user_id: str, **fields: Any) -> service.CreateNotificationRequest:
    """Make a request that is right, but for the fields given: those of a content, and those of the request itself."""
    own = {name: fields.pop(name) for name in ("request_id", "response_view") if name in fields}
    what = content(**({"title": "Welcome", "message": "Hello"} | fields))
    return service.CreateNotificationRequest(user_id=user_id, content=what, **own)


def content(**fields: Any) -> pb.NotificationContent:
    """Make a content that is right, but for the fields given."""
    values: dict[str, Any] = {"title": "News", "message": "Hello all", "type": pb.NOTIFICATION_TYPE_IN_APP} | fields
    return pb.NotificationContent(**values)


def items(*pairs: tuple[str, pb.NotificationContent]) -> service.BatchCreateNotificationsRequest:
    """Make a batch of contents, each for its user."""
    made = [service.BatchCreateNotificationsRequest.Item(user_id=user, content=what) for user, what in pairs]
    return service.BatchCreateNotificationsRequest(items=service.BatchCreateNotificationsRequest.Items(items=made))


def row(user_id: str, **fields: Any) -> dict[str, Any]:
    """Make a document as the source's own system writes it."""
    now = datetime.now(UTC)
    return {
        "_id": ObjectId(),
        "title": "Welcome",
        "message": "Hello",
        "type": "email",
        "userId": user_id,
        "read": False,
        "createdAt": now,
        "updatedAt": now,
        "__v": 0,
    } | fields
