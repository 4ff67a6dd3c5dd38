"""Reading the file of a backup: its manifest and its parts, and verifying that it is whole."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from pydantic import ValidationError

from chassis.backup import compression, manifest, tar
from chassis.backup.errors import Damaged, RestoreFailed
from chassis.backup.incoming import LARGEST_TEXT, Advance, Backup, IncomingPart, unheard
from chassis.backup.manifest import MOST_PARTS, About, Manifest, Part, part_of
from chassis.backup.tar import NoArchive
from chassis.backup.writing import CHECKSUMS
from chassis.commands.progress import progress

M = TypeVar("M", About, Manifest)

_FORMATS: Final = (1, manifest.FORMAT)


class Archive:
    """The file of a backup, its manifest read."""

    repeatable = True

    def __init__(self, path: Path) -> None:
        """Read the manifest. Raises ``Damaged``, or ``RestoreFailed`` where another version wrote it."""
        self.path = path
        self.label = str(path)
        self._members = _members(path)
        self.manifest = read_manifest(self.label, self._small(manifest.NAME))

    @property
    def about(self) -> Manifest:
        """The manifest, which also says all that a restore must know before the first part."""
        return self.manifest

    @property
    def size(self) -> int:
        """How many bytes its parts take in the file."""
        return sum(part.bytes for part in self.manifest.parts)

    def verify(self) -> None:
        """Compare every file of it with its checksum and size. Raises ``Damaged``."""
        expected = read_checksums(self._small(CHECKSUMS))
        named = {part.name: part for part in self.manifest.parts}
        if len(named) != len(self.manifest.parts) or {*named, manifest.NAME} != {*expected}:
            raise Damaged(self.label, "its parts are not those of its manifest")
        if {*expected, CHECKSUMS} != {*self._members}:
            raise Damaged(self.label, "its parts are not those of its manifest")
        with progress("checking", sum(self._members[name].size for name in expected)) as advance:
            for name, digest in expected.items():
                if self._digest(name, advance) != digest or (name in named and named[name].sha256 != digest):
                    raise Damaged(self.label, f"{name} does not have its checksum")

    def parts(self, advance: Advance = unheard) -> Iterator[IncomingPart]:
        """Give back the parts in their order; ``advance`` hears how much of the file was read. Raises ``Damaged``."""
        for name, pieces in itertools.groupby(self.manifest.parts, lambda piece: part_of(piece.name)[0]):
            if name != manifest.ABOUT:
                yield IncomingPart(name, self._content(pieces, advance))

    def content(self, name: str, advance: Advance = unheard) -> Iterator[bytes]:
        """Give back the content of a part in pieces of 1 MiB at most.

        Raises ``Damaged`` where it is not what was written, also if nobody has verified it.
        """
        pieces = [piece for piece in self.manifest.parts if part_of(piece.name)[0] == name]
        if not pieces:
            raise Damaged(self.label, f"{name} is missing")
        return self._content(pieces, advance)

    def _content(self, pieces: Iterable[Part], advance: Advance) -> Iterator[bytes]:
        for number, piece in enumerate(pieces, start=1):
            raw = self._raw(piece.name, advance)
            yield from piece_content(self.label, piece.name, number, raw, expected=piece.content_bytes)

    def _raw(self, name: str, advance: Advance = unheard) -> Iterator[bytes]:
        member = self._members.get(name)
        if member is None:
            raise Damaged(self.label, f"{name} is missing")
        with self.path.open("rb") as file:
            file.seek(member.offset_data)
            try:
                yield from tar.chunks(file, member.size, advance)
            except NoArchive:
                raise Damaged(self.label, f"{name} ends too soon") from None

    def _digest(self, name: str, advance: Advance) -> str:
        digest = hashlib.sha256()
        for chunk in self._raw(name, advance):
            digest.update(chunk)
        return digest.hexdigest()

    def _small(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise Damaged(self.label, f"it has no {name} (it was cut off, or never was a backup)")
        if member.size > LARGEST_TEXT:
            raise Damaged(self.label, f"{name} is too long")
        return b"".join(self._raw(name))


def accept(backup: Backup, service: str, revisions: Collection[str]) -> None:
    """Check that a backup may be restored: it is this service's, and of a schema that this version knows.

    ``revisions``: the schemas that this version knows. Raises ``RestoreFailed``.
    """
    found: About | Manifest = backup.about
    if found.service != service:
        raise RestoreFailed(f"{backup.label} is a backup of {found.service}")
    if found.schema_revision not in revisions:
        raise RestoreFailed(
            f"{backup.label} has schema {found.schema_revision}, which this version does not know: "
            f"restore with version {found.service_version} or newer"
        )


def piece_content(
    label: str, name: str, number: int, raw: Iterable[bytes], *, expected: int | None = None
) -> Iterator[bytes]:
    """Give back what the file ``name``, the ``number``-th piece of its part, holds. Raises ``Damaged``.

    ``expected``: how many bytes that must be, where it is known before they are read.
    """
    if part_of(name)[1] != number:
        raise Damaged(label, f"pieces before {name} are missing")
    left = expected
    try:
        for content in compression.decompressed(raw) if name.endswith(compression.SUFFIX) else raw:
            if left is not None:
                left -= len(content)
                if left < 0:
                    break
            yield content
    except compression.NotCompressed:
        raise Damaged(label, f"{name} is broken") from None
    if left:
        raise Damaged(label, f"{name} does not hold as much as the manifest says")


def read_manifest(label: str, text: bytes) -> Manifest:
    """Read a manifest. Raises ``Damaged``, or ``RestoreFailed`` where another version wrote it."""
    return _validated(label, text, Manifest, "its manifest cannot be read")


def read_about(label: str, text: bytes) -> About:
    """Read what stands before the first part. Raises as ``read_manifest`` does."""
    return _validated(label, text, About, "its beginning cannot be read")


def _validated(label: str, text: bytes, model: type[M], problem: str) -> M:
    try:
        found = json.loads(text)
        written = found["format"]
        if isinstance(written, int) and written not in _FORMATS:
            raise RestoreFailed(f"{label} has format {written}; this version reads format {manifest.FORMAT} and older")
        return model.model_validate(found)
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        raise Damaged(label, problem) from None


def read_checksums(text: bytes) -> dict[str, str]:
    """Return the digests by their files' names, as ``sha256sum`` writes them."""
    lines = [line.partition("  ") for line in text.decode(errors="replace").splitlines()]
    return {name: digest for digest, _, name in lines}


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Find the members of an archive; raises ``Damaged``, or ``RestoreFailed`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RestoreFailed(f"{path} is not a file")
            return {member.name: member for member in _headers(file)}
    except NoArchive as error:
        raise Damaged(str(path), str(error)) from None
    except OSError as error:
        raise RestoreFailed(f"{path} could not be read: {error.strerror or type(error).__name__}") from None


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Read all headers; each name may be there once."""
    end, names = os.fstat(file.fileno()).st_size, set[str]()
    start = 0
    while (member := tar.read_header(file)) is not None:
        member.offset_data = start + tarfile.BLOCKSIZE
        start = member.offset_data + member.size + tar.padding(member.size)
        if member.name in names or len(names) == MOST_PARTS or start > end:
            raise NoArchive(tar.NO_TAR)
        names.add(member.name)
        file.seek(start)
        yield member
    if not names:
        raise NoArchive(tar.NO_TAR)
