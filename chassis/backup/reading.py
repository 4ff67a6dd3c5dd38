"""Reading a backup: its manifest and its parts, and verifying that it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from chassis.backup import compression, manifest
from chassis.backup.errors import Damaged, RestoreFailed
from chassis.backup.manifest import FORMAT, MOST_PARTS, Manifest
from chassis.backup.writing import CHECKSUMS
from chassis.commands.progress import progress

_CHUNK: Final = 1 << 20
# A manifest, the checksums and the description of a collection are some kilobytes each. JSON takes 20 times its size.
_LARGEST_TEXT: Final = 1 << 20
_NO_TAR: Final = "it is no tar file as backups are, or was cut off"

Advance = Callable[[int], None]


class Archive:
    """The file of a backup, its manifest read."""

    def __init__(self, path: Path) -> None:
        """Read the manifest. Raises ``Damaged``, or ``RestoreFailed`` where another version wrote it."""
        self.path = path
        self._members = _members(path)
        self.manifest = self._read_manifest()

    def accept(self, service: str, revisions: Collection[str], *, verify: bool) -> None:
        """Check that the backup may be restored: it is this service's, and of a schema that this version knows.

        ``revisions``: the schemas that this version knows. ``verify``: also check that the file is whole. Raises
        ``RestoreFailed`` or ``Damaged``.
        """
        found = self.manifest
        if found.service != service:
            raise RestoreFailed(f"{self.path} is a backup of {found.service}")
        if found.schema_revision not in revisions:
            raise RestoreFailed(
                f"{self.path} has schema {found.schema_revision}, which this version does not know: "
                f"restore with version {found.service_version} or newer"
            )
        if verify:
            self.verify()

    def verify(self) -> None:
        """Compare every part with its checksum and size. Raises ``Damaged``."""
        expected = self._checksums()
        named = {part.name: part for part in self.manifest.parts}
        if len(named) != len(self.manifest.parts) or {*named, manifest.NAME} != {*expected}:
            raise Damaged(self.path, "its parts are not those of its manifest")
        if {*expected, CHECKSUMS} != {*self._members}:
            raise Damaged(self.path, "its parts are not those of its manifest")
        with progress("checking", sum(self._members[name].size for name in expected)) as advance:
            for name, digest in expected.items():
                if self._digest(name, advance) != digest or (name in named and named[name].sha256 != digest):
                    raise Damaged(self.path, f"{name} does not have its checksum")

    def names(self, suffix: str) -> list[str]:
        """Return the names of the parts that end with ``suffix``, in the order in which they were written."""
        return [part.name for part in self.manifest.parts if part.name.endswith(suffix)]

    def text(self, name: str) -> str:
        """Return a small part whole. Raises ``Damaged``, also where it is not small."""
        try:
            return self._small(name).decode()
        except UnicodeDecodeError:
            raise Damaged(self.path, f"{name} is no text") from None

    def content(self, name: str, advance: Advance) -> Iterator[bytes]:
        """Give back the content of a compressed part in pieces; ``advance`` hears how much of the file was read.

        Raises ``Damaged`` where it is not what was written, also if nobody has verified it.
        """
        left = self._content_bytes(name)
        try:
            for piece in compression.decompressed(self._raw(name, advance)):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        except compression.NotCompressed:
            raise Damaged(self.path, f"{name} is broken") from None
        if left:
            raise Damaged(self.path, f"{name} does not hold as much as the manifest says")

    def _content_bytes(self, name: str) -> int:
        for part in self.manifest.parts:
            if part.name == name:
                return part.content_bytes
        raise Damaged(self.path, f"{name} is missing")

    def _raw(self, name: str, advance: Advance = lambda _bytes: None) -> Iterator[bytes]:
        member = self._members.get(name)
        if member is None:
            raise Damaged(self.path, f"{name} is missing")
        left = member.size
        with self.path.open("rb") as file:
            file.seek(member.offset_data)
            while left:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    raise Damaged(self.path, f"{name} ends too soon")
                left -= len(chunk)
                advance(len(chunk))
                yield chunk

    def _digest(self, name: str, advance: Advance) -> str:
        digest = hashlib.sha256()
        for chunk in self._raw(name, advance):
            digest.update(chunk)
        return digest.hexdigest()

    def _checksums(self) -> dict[str, str]:
        lines = [line.partition("  ") for line in self._small(CHECKSUMS).decode(errors="replace").splitlines()]
        return {name: digest for digest, _, name in lines}

    def _small(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise Damaged(self.path, f"it has no {name} (it was cut off, or never was a backup)")
        if member.size > _LARGEST_TEXT:
            raise Damaged(self.path, f"{name} is too long")
        return b"".join(self._raw(name))

    def _read_manifest(self) -> Manifest:
        try:
            found = json.loads(self._small(manifest.NAME))
            written = found["format"]
            if isinstance(written, int) and written != FORMAT:
                raise RestoreFailed(f"{self.path} has format {written}; this version reads format {FORMAT}")
            return Manifest.model_validate(found)
        except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
            raise Damaged(self.path, "its manifest cannot be read") from None


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Find the members of an archive; raises ``Damaged``, or ``RestoreFailed`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RestoreFailed(f"{path} is not a file")
            return {member.name: member for member in _headers(path, file)}
    except OSError as error:
        raise RestoreFailed(f"{path} could not be read: {error.strerror or type(error).__name__}") from None


def _headers(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Read the headers as ``writing`` writes them: one block each, files only, each name once.

    Not ``tarfile.open``: it reads as much into memory as extended headers, sparse maps and long names ask for.
    """
    end, names = os.fstat(file.fileno()).st_size, set[str]()
    start = 0
    while any(block := file.read(tarfile.BLOCKSIZE)):
        member = _header(path, block)
        member.offset_data = start + tarfile.BLOCKSIZE
        start = member.offset_data + member.size + -member.size % tarfile.BLOCKSIZE
        if member.name in names or len(names) == MOST_PARTS or member.size < 0 or start > end:
            raise Damaged(path, _NO_TAR)
        names.add(member.name)
        file.seek(start)
        yield member
    if not names or len(block) != tarfile.BLOCKSIZE:
        raise Damaged(path, _NO_TAR)


def _header(path: Path, block: bytes) -> tarfile.TarInfo:
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError, OverflowError):
        raise Damaged(path, _NO_TAR) from None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise Damaged(path, "it holds something else than files")
    return member
