"""The details of an error, decoded.

They are messages of ``google.rpc``. These have their own pool of descriptors, so that they never meet those of
googleapis-common-protos, whichever version a process has of it, or none.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

_PACKAGE: Final = "vibework.client.details"
_STRING: Final = FieldDescriptorProto.TYPE_STRING
# By message: its fields as (name, number, type, message, repeated). Numbers are those of google.rpc.
_MESSAGES: Final[dict[str, tuple[tuple[str, int, int, str, bool], ...]]] = {
    "Any": (("type_url", 1, _STRING, "", False), ("value", 2, FieldDescriptorProto.TYPE_BYTES, "", False)),
    "Duration": (
        ("seconds", 1, FieldDescriptorProto.TYPE_INT64, "", False),
        ("nanos", 2, FieldDescriptorProto.TYPE_INT32, "", False),
    ),
    "Status": (
        ("code", 1, FieldDescriptorProto.TYPE_INT32, "", False),
        ("message", 2, _STRING, "", False),
        ("details", 3, FieldDescriptorProto.TYPE_MESSAGE, "Any", True),
    ),
    "Variable": (("key", 1, _STRING, "", False), ("value", 2, _STRING, "", False)),
    "ErrorInfo": (
        ("reason", 1, _STRING, "", False),
        ("domain", 2, _STRING, "", False),
        # A map is encoded as its entries.
        ("metadata", 3, FieldDescriptorProto.TYPE_MESSAGE, "Variable", True),
    ),
    "LocalizedMessage": (("locale", 1, _STRING, "", False), ("message", 2, _STRING, "", False)),
    "FieldViolation": (
        ("field", 1, _STRING, "", False),
        ("description", 2, _STRING, "", False),
        ("reason", 3, _STRING, "", False),
        ("localized_message", 4, FieldDescriptorProto.TYPE_MESSAGE, "LocalizedMessage", False),
    ),
    "BadRequest": (("field_violations", 1, FieldDescriptorProto.TYPE_MESSAGE, "FieldViolation", True),),
    "RetryInfo": (("retry_delay", 1, FieldDescriptorProto.TYPE_MESSAGE, "Duration", False),),
    "RequestInfo": (("request_id", 1, _STRING, "", False), ("serving_data", 2, _STRING, "", False)),
}


def _message(name: str) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for field, number, kind, of, repeated in _MESSAGES[name]:
        label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        message.field.add(
            name=field,
            number=number,
            type=kind,
            label=label,
            type_name=f".{_PACKAGE}.{of}" if of else None,
        )
    return message


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="vibework/client/details.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.extend(_message(name) for name in _MESSAGES)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES: Final = _classes()


def status_of(encoded: bytes) -> Any:
    """Read ``google.rpc.Status``. Raises google.protobuf.message.DecodeError."""
    return _CLASSES["Status"].FromString(encoded)


def details_of(status: Any) -> dict[str, Any]:
    """Return the details of a status that are known here, by the name of their message; the first of each."""
    found: dict[str, Any] = {}
    for detail in status.details:
        name = detail.type_url.rpartition("google.rpc.")[2]
        if name in _CLASSES and name not in found:
            found[name] = _CLASSES[name].FromString(detail.value)
    return found
