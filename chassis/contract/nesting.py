"""JSON nesting limit: how deep a caller's JSON may be nested, and which field of a request is nested too deep.

Protobuf parsers stop at 100 levels of messages, and a level of JSON takes up to three of them. The field of a deeper
request that is to blame is found in the bytes of the request, without recursion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chassis.errors import FieldViolation

# Levels of objects and lists. An answer adds levels around the JSON that the request did not have.
MAX_LEVELS: Final = 32

# Values that are looked at, which takes some 20 ms: all other calls wait meanwhile, and a request may be large.
_MOST_VALUES: Final = 10_000

_LEVELS: Final = frozenset({"google.protobuf.Struct", "google.protobuf.ListValue"})
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# A part of a message: its type, where its bytes begin and end, the field that it stands in, and its level of JSON.
_Part = tuple[Descriptor, int, int, str, int]


def too_deep(field: str) -> FieldViolation:
    """Return the violation of a field that holds JSON of too many levels."""
    return FieldViolation(field, f"must be nested at most {MAX_LEVELS} levels deep", "JSON_LEVELS")


def violations(request: Descriptor, content: bytes) -> list[FieldViolation]:
    """Return a violation for each field of a request's bytes that holds JSON of too many levels.

    Returns nothing for malformed bytes; of very many values only the first ones are looked at.
    """
    try:
        return [too_deep(field) for field in dict.fromkeys(_too_deep(request, content))]
    except (IndexError, ValueError):
        return []


def _too_deep(request: Descriptor, content: bytes) -> Iterator[str]:
    parts: list[_Part] = [(request, 0, len(content), "", 0)]
    budget = iter(range(_MOST_VALUES))
    while parts:
        parent = parts.pop()
        for part in _submessages(parent, content, budget):
            if part[-1] > MAX_LEVELS:
                yield part[3]
            else:
                parts.append(part)


def _submessages(parent: _Part, content: bytes, budget: Iterator[int]) -> Iterator[_Part]:
    kind, at, end, path, level = parent
    seen: Counter[int] = Counter()
    while at < end and next(budget, None) is not None:
        tag, at = _varint(content, at)
        start, at = _value(tag & 7, content, at)
        field = kind.fields_by_number.get(tag >> 3)
        if at > end:
            raise ValueError("a value ends beyond its message")
        if field is None or field.message_type is None or tag & 7 != _LENGTH:
            continue
        # Inside JSON the field that holds all of it is to blame.
        inner = path if level else _path(path, field, seen[field.number])
        seen[field.number] += 1
        yield field.message_type, start, at, inner, level + (field.message_type.full_name in _LEVELS)


def _path(path: str, field: FieldDescriptor, index: int) -> str:
    name = f"{field.name}[{index}]" if field.is_repeated else field.name
    return f"{path}.{name}" if path else name


def _value(wire: int, content: bytes, at: int) -> tuple[int, int]:
    """Return where a value's own bytes begin and end."""
    if wire == _VARINT:
        return at, _varint(content, at)[1]
    if wire == _LENGTH:
        length, at = _varint(content, at)
        return at, at + length
    if wire in {_FIXED64, _FIXED32}:
        return at, at + (8 if wire == _FIXED64 else 4)
    raise ValueError("a group, or no wire type")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("a number that is too long")
