"""Writing a backup: a tar file that appears under its name only when it is whole.

Tar, because every system can take it apart: ``tar -xf``, then ``sha256sum -c SHA256SUMS`` and ``zstd -d``. The parts
come as they are read, so the header with a part's size is written after it, into the place left before it.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

from chassis.backup import compression, manifest
from chassis.backup.errors import BackupFailed
from chassis.backup.manifest import Manifest, Part, Source
from chassis.clock import utc_now

CHECKSUMS: Final = "SHA256SUMS"
DISTRIBUTION: Final = "vibework-services"
# What is handed to the compressor at once.
_CHUNK: Final = 1 << 20


CheckArchive = Callable[[Path], None]


class PartWriter:
    """Takes the content of one compressed part."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = compression.compressor()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._sha256 = hashlib.sha256()
        self.bytes = 0
        self.content_bytes = 0

    def write(self, content: bytes) -> None:
        """Add to the part."""
        self._pending.append(content)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _CHUNK:
            self._flush()

    def finish(self, name: str) -> Part:
        """End the part and say what it has become."""
        self._flush()
        self._put(self._compressor.flush())
        return Part(name=name, bytes=self.bytes, content_bytes=self.content_bytes, sha256=self._sha256.hexdigest())

    def _flush(self) -> None:
        self._put(self._compressor.compress(b"".join(self._pending)))
        self.content_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0

    def _put(self, compressed: bytes) -> None:
        self._file.write(compressed)
        self._sha256.update(compressed)
        self.bytes += len(compressed)


class ArchiveWriter:
    """Takes the parts one after the other, then what the service says of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: list[Part] = []

    @contextmanager
    def part(self, name: str) -> Iterator[PartWriter]:
        """Add a compressed part for as long as the context lasts; its name in the archive ends in ``.zst``."""
        start = self._file.tell()
        self._file.write(bytes(tarfile.BLOCKSIZE))
        writer = PartWriter(self._file)
        yield writer
        self._parts.append(part := writer.finish(name + compression.SUFFIX))
        self._end_member(part.bytes)
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(part.name, part.bytes))
        self._file.seek(end)

    def add(self, name: str, content: bytes) -> None:
        """Add a small part as it is."""
        digest = hashlib.sha256(content).hexdigest()
        self._parts.append(Part(name=name, bytes=len(content), content_bytes=len(content), sha256=digest))
        self._member(name, content)

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
        self._end_member(len(content))

    def _end_member(self, size: int) -> None:
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(utc_now().timestamp())
    # Numbers beyond 8 GiB fit into GNU's form; a name too long for one block would take a second one.
    header = info.tobuf(tarfile.GNU_FORMAT)
    if len(header) != tarfile.BLOCKSIZE:
        raise BackupFailed(f"the name {name} is too long for a backup")
    return header


@contextmanager
def create(path: Path, *, overwrite: bool = False, check: CheckArchive | None = None) -> Iterator[ArchiveWriter]:
    """Write an archive for as long as the context lasts; it gets its name at the end, on disk and with mode 600.

    ``check``: looks at the whole file before it gets its name, and raises ``BackupFailed`` where it is not right.
    What fails leaves nothing behind. An existing file is refused unless ``overwrite``. Raises ``BackupFailed``.
    """
    if path.exists() and not overwrite:
        raise BackupFailed(f"{path} exists: name another file, or say --overwrite")
    try:
        with _unfinished(path) as (file, name):
            yield ArchiveWriter(file)
            file.flush()
            os.fsync(file.fileno())
            if check is not None:
                check(name)
            _publish(name, path, overwrite=overwrite)
    except OSError as error:
        raise BackupFailed(f"{path} could not be written: {error.strerror or type(error).__name__}") from error


@contextmanager
def _unfinished(path: Path) -> Iterator[tuple[io.BufferedRandom, Path]]:
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent)
    try:
        with os.fdopen(number, "w+b") as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(name: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        name.replace(path)
    else:
        try:
            # Unlike a renaming, a link never takes the place of a file that came meanwhile.
            path.hardlink_to(name)
        except FileExistsError:
            raise BackupFailed(f"{path} exists: name another file, or say --overwrite") from None
        except OSError:
            # Not every file system has links.
            name.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
