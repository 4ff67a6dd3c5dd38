"""Undecodable rows: they are decoded field by field, so that one bad value makes only its field unreadable.

MongoDB accepts values that the driver does not (binary of the old subtype 2 with a wrong length inside). The driver
then fails for the whole answer, with the rows of all other users in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from notifications_service.mongodb import codec
from notifications_service.mongodb.codec import Document

CODEC_OPTIONS: Final[CodecOptions[RawBSONDocument]] = codec.CODEC_OPTIONS.with_options(document_class=RawBSONDocument)


class Undecodable:
    """Stands in place of a value that cannot be decoded."""


UNDECODABLE: Final = Undecodable()

# Bytes of a value by its type (https://bsonspec.org/spec.html); for types with a length, the bytes beyond that length.
_FIXED: Final = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}
_BEYOND_LENGTH: Final = {2: 4, 3: 0, 4: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0}
_OBJECT: Final = 3
_REGEX: Final = 11
_LENGTH: Final = struct.Struct("<i")


def decoded(raw: RawBSONDocument) -> Document:
    """Decode a row; where that fails, decode it field by field, with ``UNDECODABLE`` for fields that fail."""
    return _decoded(bytes(raw.raw))


def _decoded(content: bytes) -> Document:
    try:
        return bson.decode(content, codec.CODEC_OPTIONS)
    except InvalidBSON:
        return {name: _value(element, start) for name, element, start in _elements(content)}


def _value(element: bytes, start: int) -> Any:
    if element[0] == _OBJECT:
        return _decoded(element[start:])
    alone = _LENGTH.pack(len(element) + 5) + element + b"\0"
    try:
        return next(iter(bson.decode(alone, codec.CODEC_OPTIONS).values()))
    except InvalidBSON:
        return UNDECODABLE


def _elements(content: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Yield the top fields of a document: name, bytes (type, name, value), and where in these the value begins."""
    start = _LENGTH.size
    while content[start]:
        value = content.index(b"\0", start + 1) + 1
        end = value + _size(content[start], content, value)
        yield content[start + 1 : value - 1].decode(errors="replace"), content[start:end], value - start
        start = end


def _size(kind: int, content: bytes, at: int) -> int:
    if kind == _REGEX:
        pattern_end = content.index(b"\0", at) + 1
        return content.index(b"\0", pattern_end) + 1 - at
    if kind in _BEYOND_LENGTH:
        return _BEYOND_LENGTH[kind] + int(_LENGTH.unpack_from(content, at)[0])
    return _FIXED[kind]
