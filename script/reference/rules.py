"""Says in words what the rules of protovalidate in the contract ask of a field, an `oneof` or a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

PACKAGE: Final = "buf.validate"
# By the kind of an option's owner: the options' message, and the extension that holds the rules.
OPTIONS: Final = {
    "field": ("google.protobuf.FieldOptions", f"{PACKAGE}.field"),
    "oneof": ("google.protobuf.OneofOptions", f"{PACKAGE}.oneof"),
    "message": ("google.protobuf.MessageOptions", f"{PACKAGE}.message"),
}
# Rules that are a yes or no.
FLAGS: Final = {
    "email": "an email address",
    "uri": "a URI",
    "uuid": "a UUID",
    "ip": "an IP address",
    "defined_only": "a value that is listed",
    "unique": "each once",
}
# What a pair of bounds counts.
LENGTHS: Final = {"len": "characters", "bytes": "bytes", "items": "entries", "pairs": "entries"}


class UnknownRuleError(Exception):
    """A rule of the contract has no words here yet."""


class Rules:
    """The rules of a set of files, which must hold the declaration of the rules."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self._pool = DescriptorPool()
        for file in files.file:
            self._pool.Add(file)

    def of(self, kind: str, options: Message, names: Mapping[int, str] | None = None) -> list[str]:
        """Return what the options of a `field`, `oneof` or `message` ask, a phrase for each rule.

        ``names``: of the values of the field's enum. Raises UnknownRuleError.
        """
        message, extension = OPTIONS[kind]
        known: Any = GetMessageClass(self._pool.FindMessageTypeByName(message)).FromString(options.SerializeToString())
        declared = self._pool.FindExtensionByName(extension)
        return list(_of(known.Extensions[declared], names or {})) if known.HasExtension(declared) else []


def _of(rules: Any, names: Mapping[int, str]) -> Iterator[str]:
    told = {field.name: value for field, value in rules.ListFields()}
    # By protovalidate's enum: 1 is IGNORE_IF_ZERO_VALUE, 3 is IGNORE_ALWAYS.
    ignore = told.pop("ignore", 0)
    if told.pop("required", False):
        yield "required"
    if ignore == 1:
        yield "may be empty; else"
    for rule in told.pop("cel", ()):
        yield rule.message
    for kind, value in told.items():
        yield from _typed(kind, value, names)


def _typed(kind: str, rules: Any, names: Mapping[int, str]) -> Iterator[str]:
    told = {field.name: value for field, value in rules.ListFields()}
    for what, unit in LENGTHS.items():
        lower, upper = told.pop(f"min_{what}", 0), told.pop(f"max_{what}", None)
        if lower or upper is not None:
            yield _between(lower or None, upper, f" {unit}")
    yield from _bounds(kind, told)
    for name, value in told.items():
        yield from _single(kind, name, value, names)


def _bounds(kind: str, told: dict[str, Any]) -> Iterator[str]:
    show = SHOWN.get(kind, _number)
    lower, upper, before = (told.pop(name, None) for name in ("gte", "lte", "lt"))
    if lower is not None or upper is not None:
        yield _between(lower, upper, "", show)
    if before is not None:
        yield f"before {show(before)}" if kind == "timestamp" else f"less than {show(before)}"


def _single(kind: str, name: str, value: Any, names: Mapping[int, str]) -> Iterator[str]:
    if name in FLAGS:
        yield FLAGS[name]
    elif name == "not_in":
        yield "not " + " or ".join(f"`{names.get(each, each) if kind == 'enum' else each}`" for each in value)
    elif name == "pattern":
        yield f"matches `{value}`"
    elif name == "prefix":
        shown = value if isinstance(value, str) else json.dumps(value.decode("latin-1"))
        yield f"begins with `{shown}`"
    elif name == "len":
        yield f"{value} {'bytes' if kind == 'bytes' else 'characters'}"
    elif name in ("items", "keys", "values"):
        each = ", ".join(_of(value, names))
        if each:
            yield f"each {'' if name == 'items' else name.removesuffix('s') + ' '}{each}"
    else:
        raise UnknownRuleError(f"{kind}.{name}: script/reference/rules.py has no words for it")


def _between(lower: Any, upper: Any, unit: str, show: Callable[[Any], str] | None = None) -> str:
    show = show or _number
    if upper is None:
        return f"{show(lower)}{unit} or more" if unit else f"{show(lower)} or more"
    if lower is None:
        return f"at most {show(upper)}{unit}"
    return f"{show(lower)}{unit}" if lower == upper else f"{show(lower)} to {show(upper)}{unit}"


def _number(value: Any) -> str:
    return f"{value:,}"


def _time(value: Any) -> str:
    return f"{datetime.fromtimestamp(value.seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _seconds(value: Any) -> str:
    seconds = value.seconds + value.nanos / 1e9
    return f"{seconds:,.9g} s"


SHOWN: Final[Mapping[str, Callable[[Any], str]]] = {"timestamp": _time, "duration": _seconds}
