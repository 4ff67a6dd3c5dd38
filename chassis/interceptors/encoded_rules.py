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
ENUM: Final = 16
REPEATED: Final = 18
MAP: Final = 19
REQUIRED: Final = 25
IGNORE: Final = 27
MIN_LEN: Final = 2
MAX_LEN: Final = 3
DEFINED_ONLY: Final = 2
NOT_IN: Final = 4
ITEMS: Final = 4
# Of lists `max_items`, of maps `max_pairs`.
MOST: Final = 2
IGNORE_ALWAYS: Final = 3
# Of the rules of a message, and of one of them.
CEL: Final = 3
EXPRESSION: Final = 3

_UNLIMITED: Final = 1 << 62


def _declared() -> tuple[type[Message], type[Message]]:
    """Return types that have of an options message only the rules: of fields (and oneofs), and of messages.

    Of the rules they have those that are read here; all others are unknown fields.
    """
    file = FileDescriptorProto(name="chassis/encoded_rules.proto", package="chassis", syntax="proto2")
    kind = FieldDescriptorProto
    _declare(file, "Options", ("rules", RULES, ".chassis.Rules"))
    _declare(
        file,
        "Rules",
        ("string", STRING, ".chassis.Lengths"),
        ("enum", ENUM, ".chassis.Values"),
        ("repeated", REPEATED, ".chassis.Lists"),
        ("map", MAP, ".chassis.Lists"),
        ("required", REQUIRED, kind.TYPE_BOOL),
        ("ignore", IGNORE, kind.TYPE_INT32),
    )
    _declare(file, "Lists", ("items", ITEMS, ".chassis.Rules"), ("most", MOST, kind.TYPE_UINT64))
    _declare(file, "Lengths", ("min_len", MIN_LEN, kind.TYPE_UINT64), ("max_len", MAX_LEN, kind.TYPE_UINT64))
    _declare(file, "Values", ("defined_only", DEFINED_ONLY, kind.TYPE_BOOL), ("not_in", NOT_IN, kind.TYPE_INT32))
    _declare(file, "OptionsOfMessage", ("rules", RULES, ".chassis.RulesOfMessage"))
    _declare(file, "RulesOfMessage", ("cel", CEL, ".chassis.Cel"))
    _declare(file, "Cel", ("expression", EXPRESSION, kind.TYPE_STRING))
    pool = DescriptorPool()
    pool.Add(file)
    options, of_message = (pool.FindMessageTypeByName(f"chassis.{name}") for name in ("Options", "OptionsOfMessage"))
    return GetMessageClass(options), GetMessageClass(of_message)


def _declare(file: FileDescriptorProto, name: str, *fields: tuple[str, int, Any]) -> None:
    """Declare a message; ``fields``: name, number, and the type or the name of the message."""
    declared = file.message_type.add(name=name)
    for field, number, kind in fields:
        added = declared.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if field in {"not_in", "cel"}:
            added.label = FieldDescriptorProto.LABEL_REPEATED
        if isinstance(kind, str):
            added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, kind
        else:
            added.type = kind


_Options, _OptionsOfMessage = _declared()


def has_rules(described: Any) -> bool:
    """Say whether a message, a oneof or a field has rules of its own."""
    return bool(_options(described).HasField("rules"))


def lengths(field: Any) -> tuple[int, int] | None:
    """Return the least and the greatest length of a string field; None when it has no rules or others as well."""
    rules = _options(field).rules
    if field.is_repeated or not _has_only(rules, "string") or _has_others(rules.string):
        return None
    string = rules.string
    return string.min_len, string.max_len if string.HasField("max_len") else _UNLIMITED


def enum_values(field: Any) -> frozenset[int] | None:
    """Return the values that an enum field may have; None when it has no rules or others as well."""
    rules = _options(field).rules
    if field.is_repeated or not _has_only(rules, "enum") or _has_others(rules.enum) or not rules.enum.defined_only:
        return None
    return frozenset(field.enum_type.values_by_number) - frozenset(rules.enum.not_in)


def is_just_required(field: Any) -> bool:
    """Say whether the one rule of a field is that it must be set."""
    rules = _options(field).rules
    return bool(_has_only(rules, "required") and rules.required)


def ignores_items(field: Any) -> bool:
    """Say whether the items of a repeated field are not looked at: whoever takes them judges each by itself."""
    return bool(_options(field).rules.repeated.items.ignore == IGNORE_ALWAYS)


def is_ignored(field: Any) -> bool:
    """Say whether nothing within a field is looked at."""
    return bool(_options(field).rules.ignore == IGNORE_ALWAYS)


def most_items(field: Any) -> int | None:
    """Return how many items a list or a map may have; None when it has no rule of that."""
    rules = _options(field).rules
    lists = rules.map if rules.HasField("map") else rules.repeated
    return int(lists.most) if lists.HasField("most") else None


def expressions(message: Any) -> list[str] | None:
    """Return the CEL expressions of a message's own rules; None when it has other rules as well."""
    rules: Any = _OptionsOfMessage.FromString(message.GetOptions().SerializeToString())
    return None if _has_others(rules.rules) else [rule.expression for rule in rules.rules.cel]


def _options(described: Any) -> Any:
    return _Options.FromString(described.GetOptions().SerializeToString())


def _has_only(rules: Any, name: str) -> bool:
    return [field.name for field, _ in rules.ListFields()] == [name] and not _has_others(rules)


def _has_others(rules: Message) -> bool:
    return len(UnknownFieldSet(rules)) > 0
