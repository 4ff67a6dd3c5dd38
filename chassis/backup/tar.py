"""The headers of a backup's tar archive, as ``writing`` writes them: one block each, files only.

Not ``tarfile.open``: it reads as much into memory as extended headers, sparse maps and long names ask for.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

CHUNK: Final = 1 << 20
# Raised where the archive is not as ``writing`` writes it.
NO_TAR: Final = "it is no tar file as backups are, or was cut off"


class NoArchive(Exception):
    """The bytes are no tar archive of files; the message says why."""


def read_header(file: BinaryIO) -> tarfile.TarInfo | None:
    """Read the next header; None at the end of the archive. Raises ``NoArchive``."""
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) != tarfile.BLOCKSIZE:
        raise NoArchive(NO_TAR)
    if not any(block):
        return None
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError, OverflowError):
        raise NoArchive(NO_TAR) from None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise NoArchive("it holds something else than files")
    if member.size < 0:
        raise NoArchive(NO_TAR)
    return member


def padding(size: int) -> int:
    """Return how many bytes stand between a content of this size and the next header."""
    return -size % tarfile.BLOCKSIZE


def chunks(file: BinaryIO, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    """Give back the next ``size`` bytes in pieces; ``advance`` hears of each. Raises ``NoArchive`` at an early end."""
    while size:
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            raise NoArchive(NO_TAR)
        size -= len(chunk)
        advance(len(chunk))
        yield chunk
