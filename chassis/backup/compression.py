"""Zstandard (RFC 8878), as a stream: from Python's own library where it has one (3.14), else from its backport."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

if sys.version_info >= (3, 14):
    from compression.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
    )
else:
    from backports.zstd import CompressionParameter, DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

SUFFIX: Final = ".zst"
# The library's own default: about as fast as rows can be read. One thread compresses beside the one that reads.
_LEVEL: Final = 3
_WORKERS: Final = 1
# What is given back at once.
_PIECE: Final = 1 << 20
# The decompressor keeps so much of what came last: 8 MiB, four times what our level asks for, as much as level 19 does.
_LARGEST_WINDOW_LOG: Final = 23


class NotCompressed(Exception):
    """The stream is broken, or ends too soon."""


def compressor() -> ZstdCompressor:
    """Return a compressor whose frame carries a checksum of its content."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: _LEVEL,
        CompressionParameter.checksum_flag: 1,
        CompressionParameter.nb_workers: _WORKERS,
    }
    return ZstdCompressor(options=options)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give back what was compressed, in pieces of 1 MiB at most, whatever they were compressed to.

    Raises ``NotCompressed``.
    """
    decompressor = ZstdDecompressor(options={DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG})
    try:
        for chunk in chunks:
            yield from _pieces(decompressor, chunk)
    except (ZstdError, EOFError, MemoryError) as error:
        raise NotCompressed from error
    if not decompressor.eof or decompressor.unused_data:
        raise NotCompressed


def _pieces(decompressor: ZstdDecompressor, chunk: bytes) -> Iterator[bytes]:
    piece = decompressor.decompress(chunk, _PIECE)
    while piece:
        yield piece
        if decompressor.eof or decompressor.needs_input:
            return
        piece = decompressor.decompress(b"", _PIECE)
