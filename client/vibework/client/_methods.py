"""The RPCs as the client sees them: what is asked and answered, how long it may take, whether it may be repeated."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import vibework.notifications.v1
import vibework.users.v1  # noqa: F401 - registers the descriptors
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

# Seconds that a call may take, its repetitions included: a read, what changes something, and others by name.
READ_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 10.0
SECONDS: Final[Mapping[str, float]] = {
    # A hash waits for a core.
    "SignUp": 15.0,
    "SignIn": 15.0,
    "ChangePassword": 15.0,
    "SetPassword": 15.0,
    "ResetPassword": 15.0,
    # Many rows.
    "BatchCreateNotifications": 30.0,
    "MarkAllNotifications": 30.0,
    "DeleteUserNotifications": 30.0,
    "BatchCancelDeliveries": 30.0,
    "BatchRetryDeliveries": 30.0,
    "ImportUsers": 30.0,
    "RevokeAllSessions": 30.0,
    "RevokeOtherSessions": 30.0,
}


@dataclass(frozen=True)
class Method:
    """One RPC."""

    # ``/package.Service/Method``.
    path: str
    request: Any
    response: Any
    seconds: float
    # Whether a call may be carried out twice: it reads only, or its outcome is the same, or it has a request_id.
    repeatable: bool
    has_request_id: bool

    @property
    def name(self) -> str:
        """Return the name of the RPC."""
        return self.path.rpartition("/")[2]

    def message(self, given: Mapping[str, Any]) -> Any:
        """Make the request of what a caller gave, with a request_id where it has one and the caller named none.

        Times, spans, masks and objects may be given as Python writes them.
        """
        kinds = self.request.DESCRIPTOR.fields_by_name
        fields = {name: _value(kinds[name], value) for name, value in given.items() if value is not None}
        if self.has_request_id and not fields.get("request_id"):
            fields["request_id"] = str(uuid.uuid4())
        return self.request(**fields)


def methods_of(*services: str) -> dict[str, Method]:
    """Return the RPCs of services, by ``package.Service/Method``."""
    found = [method for name in services for method in Default().FindServiceByName(name).methods]
    return {f"{method.containing_service.full_name}/{method.name}": _method(method) for method in found}


def _method(method: MethodDescriptor) -> Method:
    level = method.GetOptions().idempotency_level
    has_request_id = "request_id" in method.input_type.fields_by_name
    reads = level == MethodOptions.NO_SIDE_EFFECTS
    return Method(
        path=f"/{method.containing_service.full_name}/{method.name}",
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        seconds=SECONDS.get(method.name, READ_SECONDS if reads else WRITE_SECONDS),
        repeatable=level != MethodOptions.IDEMPOTENCY_UNKNOWN or has_request_id,
        has_request_id=has_request_id,
    )


def resumed(method: Method, given: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Return what a watch asks that goes on behind a token; without one, what it asked at first.

    A token takes the place of what else the stream could begin with, such as a snapshot.
    """
    if not token:
        return dict(given)
    field: FieldDescriptor = method.request.DESCRIPTOR.fields_by_name["resume_token"]
    others = {each.name for each in field.containing_oneof.fields} if field.containing_oneof else set()
    kept = {name: value for name, value in given.items() if name not in others}
    return {**kept, field.name: token}


def _value(field: FieldDescriptor, value: Any) -> Any:
    """Return a value as the field takes it."""
    if isinstance(value, datetime):
        stamp = Timestamp()
        stamp.FromDatetime(value)
        return stamp
    if isinstance(value, timedelta):
        span = Duration()
        span.FromTimedelta(value)
        return span
    of = field.message_type.full_name if field.message_type else ""
    if of == "google.protobuf.FieldMask" and isinstance(value, Sequence):
        return FieldMask(paths=value)
    if of == "google.protobuf.Struct" and isinstance(value, Mapping):
        struct = Struct()
        struct.update(dict(value))
        return struct
    return value
