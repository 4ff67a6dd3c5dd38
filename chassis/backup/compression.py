"""Zstandard (RFC 8878), as a stream: from Python's own library where it has one (3.14), else from its backport."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

SUFFIX: Final = ".zst"
# The library's own default: about as fast as rows can be read. One thread compresses beside the one that reads.
_LEVEL: Final = 3
_WORKERS: Final = 1


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
    """Give back what was compressed, in pieces. Raises ``NotCompressed``."""
    decompressor = ZstdDecompressor()
    try:
        for chunk in chunks:
            if piece := decompressor.decompress(chunk):
                yield piece
    except (ZstdError, EOFError) as error:
        raise NotCompressed from error
    if not decompressor.eof:
        raise NotCompressed
