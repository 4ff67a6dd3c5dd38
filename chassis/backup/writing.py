"""Writing a backup: a tar archive, from front to back, into a file or a pipe.

Tar, because every system can take it apart: ``tar -xf``, then ``sha256sum -c SHA256SUMS`` and ``zstd -d``. A member's
size stands before its content, so a part, whose size nobody knows before its end, is written as pieces that fit into
memory. Each piece is compressed by itself: what ``zstd -dc`` makes of all of them is the part.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

from chassis.backup import compression, manifest
from chassis.backup.errors import BackupFailed
from chassis.backup.manifest import MOST_PARTS, About, Manifest, Part, Source, piece_name
from chassis.clock import utc_now
from chassis.commands import whole_files

CHECKSUMS: Final = "SHA256SUMS"
DISTRIBUTION: Final = "vibework-services"
# The file that stands for the standard output of the command.
STDOUT: Final = Path("-")
# Compressed bytes of a piece, about: one is held in memory.
PIECE_BYTES: Final = 16 << 20
# What is handed to the compressor at once.
_CHUNK: Final = 1 << 20

AddPiece = Callable[[str, bytes, int], None]
Hear = Callable[[bytes], None]


class PartWriter:
    """Takes the content of one part, and adds it to the archive in compressed pieces."""

    def __init__(self, name: str, add: AddPiece, hear: Hear | None) -> None:
        self._name = name
        self._add = add
        self._hear = hear
        self._pieces = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._begin_piece()

    def _begin_piece(self) -> None:
        self._compressor = compression.compressor()
        self._compressed: list[bytes] = []
        self._compressed_bytes = 0
        self._content_bytes = 0

    def write(self, content: bytes) -> None:
        """Add to the part."""
        self._pending.append(content)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _CHUNK:
            self._flush()
            if self._compressed_bytes >= PIECE_BYTES:
                self._end_piece()

    def finish(self) -> None:
        """End the part, which has one piece at least."""
        self._flush()
        if self._content_bytes or not self._pieces:
            self._end_piece()

    def _flush(self) -> None:
        self._put(self._compressor.compress(b"".join(self._pending)))
        self._content_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0

    def _put(self, compressed: bytes) -> None:
        self._compressed.append(compressed)
        self._compressed_bytes += len(compressed)

    def _end_piece(self) -> None:
        self._put(self._compressor.flush())
        piece = b"".join(self._compressed)
        if self._hear is not None:
            for content in compression.decompressed([piece]):
                self._hear(content)
        self._pieces += 1
        self._add(piece_name(self._name, self._pieces), piece, self._content_bytes)
        self._begin_piece()


class ArchiveWriter:
    """Takes the parts one after the other, then what the service says of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: list[Part] = []

    def begin(self, service: str, schema_revision: str) -> None:
        """Write what a restore must know before the first part."""
        about = About(service=service, schema_revision=schema_revision, service_version=version(DISTRIBUTION))
        self.add(manifest.ABOUT, about.model_dump_json(indent=2).encode() + b"\n")

    @contextmanager
    def part(self, name: str, hear: Hear | None = None) -> Iterator[PartWriter]:
        """Add a compressed part for as long as the context lasts.

        ``hear``: is told the content as it comes out of the compressed pieces again, before they are written.
        """
        writer = PartWriter(name, self._add, hear)
        yield writer
        writer.finish()

    def add(self, name: str, content: bytes) -> None:
        """Add a small part as it is."""
        self._add(name, content, len(content))

    def _add(self, name: str, content: bytes, content_bytes: int) -> None:
        # Beside these there will be the manifest and the checksums.
        if len(self._parts) + 2 >= MOST_PARTS:
            raise BackupFailed(f"the database is too large for one backup ({MOST_PARTS:,} pieces)")
        digest = hashlib.sha256(content).hexdigest()
        self._member(name, content)
        self._parts.append(Part(name=name, bytes=len(content), content_bytes=content_bytes, sha256=digest))

    def finish(self, source: Source) -> Manifest:
        """Write the manifest, the checksums of everything, and the end of the archive."""
        whole = Manifest(
            **source.model_dump(),
            service_version=version(DISTRIBUTION),
            finished_at=utc_now(),
            parts=self._parts,
        )
        text = whole.model_dump_json(indent=2).encode() + b"\n"
        sums = {part.name: part.sha256 for part in self._parts} | {manifest.NAME: hashlib.sha256(text).hexdigest()}
        self._member(manifest.NAME, text)
        self._member(CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        return whole

    def _member(self, name: str, content: bytes) -> None:
        self._file.write(_header(name, len(content)))
        self._file.write(content)
        self._file.write(bytes(-len(content) % tarfile.BLOCKSIZE))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(utc_now().timestamp())
    # A name too long for one block would take a second one.
    header = info.tobuf(tarfile.GNU_FORMAT)
    if len(header) != tarfile.BLOCKSIZE:
        raise BackupFailed(f"the name {name} is too long for a backup")
    return header


@contextmanager
def create(path: Path, *, overwrite: bool = False) -> Iterator[ArchiveWriter]:
    """Write an archive for as long as the context lasts; it gets its name at the end, on disk and with mode 600.

    What fails leaves nothing behind. An existing file is refused unless ``overwrite``. ``STDOUT``: the archive goes to
    the standard output as it is made; what fails ends it before its manifest, without which it is no backup. Raises
    ``BackupFailed``.
    """
    if path != STDOUT:
        with whole_files.named(path, BackupFailed, overwrite=overwrite) as file:
            yield ArchiveWriter(file)
        return
    if sys.stdout.isatty():
        raise BackupFailed("a backup is not for a terminal: send the output to a file or a program")
    try:
        with whole_files.standard_output() as stream:
            yield ArchiveWriter(stream)
    except OSError as error:
        raise BackupFailed(f"the output could not be written: {error.strerror or type(error).__name__}") from error
