"""Reading a backup: its manifest, whether it is whole, and its parts."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from chassis.backup import compression, manifest
from chassis.backup.errors import Damaged, RestoreFailed
from chassis.backup.manifest import FORMAT, Manifest
from chassis.backup.writing import CHECKSUMS
from chassis.progress import progress

_CHUNK: Final = 1 << 20
# A manifest is some kilobytes.
_LARGEST_TEXT: Final = 64 << 20

Advance = Callable[[int], None]


class Archive:
    """A backup's file: what its manifest says, and the parts."""

    def __init__(self, path: Path) -> None:
        """Read the manifest. Raises ``Damaged``, or ``RestoreFailed`` where another version wrote it."""
        self.path = path
        self._members = _members(path)
        self.manifest = self._read_manifest()

    def accept(self, service: str, revisions: Collection[str], *, verify: bool) -> None:
        """Make sure that it may be restored: it is of this service, of a schema that is known and, if asked, whole.

        ``revisions``: those that this version knows. Raises ``RestoreFailed`` or ``Damaged``.
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
        if {*named, manifest.NAME} != {*expected} or {*expected, CHECKSUMS} != {*self._members}:
            raise Damaged(self.path, "its parts are not those of its manifest")
        with progress("checking", sum(self._members[name].size for name in expected)) as advance:
            for name, digest in expected.items():
                if self._digest(name, advance) != digest or (name in named and named[name].sha256 != digest):
                    raise Damaged(self.path, f"{name} does not have its checksum")

    def names(self, suffix: str) -> list[str]:
        """Return the names of the parts that end so, in the order in which they were written."""
        return [part.name for part in self.manifest.parts if part.name.endswith(suffix)]

    def text(self, name: str) -> str:
        """Return a small part whole."""
        return b"".join(self._raw(name)).decode()

    def content(self, name: str, advance: Advance) -> Iterator[bytes]:
        """Give back the content of a compressed part in pieces; ``advance`` hears how much of the file was read.

        Raises ``Damaged`` where it is not what was written, also if nobody has verified it.
        """
        try:
            yield from compression.decompressed(self._raw(name, advance))
        except compression.NotCompressed:
            raise Damaged(self.path, f"{name} is broken") from None

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
        if member is None or member.size > _LARGEST_TEXT:
            raise Damaged(self.path, f"it has no {name} (it was cut off, or never was a backup)")
        return b"".join(self._raw(name))

    def _read_manifest(self) -> Manifest:
        try:
            found = json.loads(self._small(manifest.NAME))
            written = found["format"]
            if isinstance(written, int) and written != FORMAT:
                raise RestoreFailed(f"{self.path} has format {written}; this version reads format {FORMAT}")
            return Manifest.model_validate(found)
        except (ValueError, TypeError, KeyError, ValidationError):
            raise Damaged(self.path, "its manifest cannot be read") from None


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    try:
        with tarfile.open(path, "r:") as file:
            return {member.name: member for member in file.getmembers()}
    except OSError as error:
        raise RestoreFailed(f"{path} could not be read: {error.strerror or type(error).__name__}") from None
    except tarfile.TarError:
        raise Damaged(path, "it is no tar file, or was cut off") from None
