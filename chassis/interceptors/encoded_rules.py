"""Rules of protovalidate, read from the options of a descriptor as they are encoded there.

The stubs do not import what declares the rules (`buf.validate`), so protobuf keeps the rules as bytes. Those are parsed
by declarations of our own, in a pool of our own: nobody else's `buf.validate` in the same process changes anything.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

# As buf/validate/validate.proto numbers them; its extensions of messages, oneofs and fields have the same number.
RULES: Final = 1159
STRING: Final = 14
MIN_LEN: Final = 2
MAX_LEN: Final = 3

_UNLIMITED: Final = 1 << 62


def _declared() -> type[Message]:
    """Return a message type that has of an options message only the rules, and of the rules only lengths of strings."""
    file = FileDescriptorProto(name="chassis/encoded_rules.proto", package="chassis", syntax="proto2")
    message, number = FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_UINT64
    _declare(file, "Options", {"rules": RULES}, type=message, type_name=".chassis.Rules")
    _declare(file, "Rules", {"string": STRING}, type=message, type_name=".chassis.Lengths")
    _declare(file, "Lengths", {"min_len": MIN_LEN, "max_len": MAX_LEN}, type=number)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("chassis.Options"))


def _declare(file: FileDescriptorProto, name: str, numbers: dict[str, int], **kind: Any) -> None:
    fields = [
        FieldDescriptorProto(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL, **kind)
        for field, number in numbers.items()
    ]
    file.message_type.add(name=name, field=fields)


_Options: Final[Any] = _declared()


def has_rules(described: Any) -> bool:
    """Say whether a message, a oneof or a field has rules of its own."""
    return bool(_options(described).HasField("rules"))


def lengths(field: Any) -> tuple[int, int] | None:
    """Return the least and the greatest length of a string field; None when it has no rules or others as well."""
    rules = _options(field).rules
    if field.is_repeated or not rules.HasField("string") or _has_others(rules) or _has_others(rules.string):
        return None
    string = rules.string
    return string.min_len, string.max_len if string.HasField("max_len") else _UNLIMITED


def _options(described: Any) -> Any:
    return _Options.FromString(described.GetOptions().SerializeToString())


def _has_others(rules: Message) -> bool:
    return len(UnknownFieldSet(rules)) > 0
