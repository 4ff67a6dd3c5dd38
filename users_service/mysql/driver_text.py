"""Text that is no UTF-8: reading it without an error that would lose the other rows of the result.

MySQL stores in ``utf8mb4`` also the three bytes of a surrogate, which is no character. The driver decodes strictly, so
it fails in the middle of such a result. Point reads get text as bytes and decode each row by itself. Other reads are
then repeated on a connection that puts a mark in place of each wrong byte (PEP 383); ``rows.as_text`` finds the marks.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

# The name under which the driver looks up the codec; Python has none of this name.
_CODEC: Final = "vibework_marked_text"


@contextmanager
def marked(connection: Any) -> Iterator[None]:
    """Decode text with marks for as long as the context lasts, which takes longer for each column and row."""
    if not isinstance(connection, AsyncConnection):
        # A stand-in reads nothing.
        yield
        return
    lent: Any = connection.sync_connection
    driver = lent.connection.driver_connection
    usual = driver._encoding  # noqa: SLF001 - it can be told no other way
    driver._encoding = _CODEC  # noqa: SLF001
    try:
        yield
    finally:
        driver._encoding = usual  # noqa: SLF001


def _decode(data: Any, _errors: str = "strict", /) -> tuple[str, int]:
    return codecs.utf_8_decode(data, "surrogateescape", True)


def _find(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(codecs.utf_8_encode, _decode, name=_CODEC) if name == _CODEC else None


codecs.register(_find)
