"""Protobuf's wire format by hand (protobuf.dev, "Encoding"): what no library would write."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
# Field numbers that no message of ours has; the last is the largest that there is.
UNKNOWN: Final = (15_000, 99_999, 2**29 - 1)
# The parsers of protobuf stop at 100 levels.
DEPTHS: Final = (31, 33, 65, 99, 101, 500, 5_000)


def varint(value: int) -> bytes:
    """Return a number, seven bits in each byte."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def tag(number: int, kind: int) -> bytes:
    """Return what stands before a field."""
    return varint(number << 3 | kind)


def field(number: int, content: bytes) -> bytes:
    """Return a field of a string, of bytes or of a message."""
    return tag(number, LENGTH) + varint(len(content)) + content


def wrapped(above: Sequence[FieldDescriptor], content: bytes) -> bytes:
    """Return content of a message as content of the request; ``above``: the fields in which the message stands.

    A parser merges it with what the request says of the same message before.
    """
    for outer in reversed(above):
        content = field(outer.number, content)
    return content


def of_kind(rng: Random, number: int, kind: int) -> bytes:
    """Return a field of a kind, with any content."""
    if kind == LENGTH:
        return field(number, rng.randbytes(rng.randrange(40)))
    if kind == START_GROUP:
        return tag(number, kind) + of_kind(rng, 1, VARINT) + tag(number, END_GROUP)
    fixed = {END_GROUP: 0, FIXED32: 4, FIXED64: 8}
    number_bytes = varint(rng.getrandbits(rng.choice((1, 31, 63, 64))))
    return tag(number, kind) + (rng.randbytes(fixed[kind]) if kind in fixed else number_bytes)


def nested_values(depth: int) -> bytes:
    """Return a `google.protobuf.Value`: lists in lists, so deep."""
    content = tag(1, VARINT) + b"\0"
    for _ in range(depth):
        content = field(6, field(1, content))
    return content


def struct_of(value: bytes) -> bytes:
    """Return a `google.protobuf.Struct` with one value."""
    return field(1, field(1, b"deep") + field(2, value))


def groups(number: int, depth: int, *, closed: bool) -> bytes:
    """Return groups in groups, so deep."""
    return tag(number, START_GROUP) * depth + (tag(number, END_GROUP) * depth if closed else b"")


def broken_lengths(rng: Random) -> bytes:
    """Return a field that says that it is longer than it is, or a number that is longer than numbers are."""
    return rng.choice(
        (
            tag(1, LENGTH) + varint(2**31 - 1) + b"x",
            tag(1, LENGTH) + varint(2**63) + b"x",
            tag(2, LENGTH) + varint(70) + b"y" * 69,
            tag(1, VARINT) + b"\xff" * 11,
            b"\xff" * 10 + b"\x7f",
            tag(1, VARINT),
            b"\0",
            tag(1, 6) + b"x",
            tag(1, 7),
        )
    )
