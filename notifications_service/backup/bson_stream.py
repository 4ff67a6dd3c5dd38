"""Streams of BSON documents, as ``mongodump`` writes them, and the checksum of a collection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from notifications_service.backup.connection import RAW

# Bytes of an empty document, and of the longest that a server stores (its own bookkeeping may take 16 KiB more).
_SHORTEST: Final = 5
_LONGEST: Final = (16 << 20) + (16 << 10)
_HASH_BYTES: Final = 16


class NoDocument(Exception):
    """The stream holds something that is no document, or is cut off."""


def documents(pieces: Iterable[bytes]) -> Iterator[RawBSONDocument]:
    """Take documents (bsonspec.org: each begins with its length) out of a stream. Raises ``NoDocument``."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start : start + 4], "little")
            if not _SHORTEST <= length <= _LONGEST:
                raise NoDocument
            end = start + length
            if end > len(buffer):
                break
            yield _document(bytes(buffer[start:end]))
            start = end
        del buffer[:start]
    if buffer:
        raise NoDocument


def _document(content: bytes) -> RawBSONDocument:
    try:
        return RawBSONDocument(content, RAW)
    except BSONError:
        raise NoDocument from None


class Sum:
    """The checksum of documents in any order: two collections with the same sum hold the same bytes."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, document: RawBSONDocument) -> None:
        """Add a document."""
        self._total += int.from_bytes(hashlib.blake2b(document.raw, digest_size=_HASH_BYTES).digest(), "big")

    def __str__(self) -> str:
        return f"{self._total % (1 << 8 * _HASH_BYTES):x}"
