"""Reading a backup that arrives from front to back, such as through a pipe: nothing of it can be looked at twice."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from chassis.backup import manifest, tar
from chassis.backup.errors import Damaged, RestoreFailed
from chassis.backup.incoming import LARGEST_TEXT, Advance, IncomingPart, unheard
from chassis.backup.manifest import MOST_PARTS, About, Manifest, part_of
from chassis.backup.reading import piece_content, read_about, read_checksums, read_manifest
from chassis.backup.tar import NoArchive
from chassis.backup.writing import CHECKSUMS

LABEL: Final = "the standard input"

# Bytes in the archive, bytes of what they hold, SHA-256.
_Seen = tuple[int, int, str]


class ArchiveStream:
    """A backup in a stream, its beginning read; ``parts`` can be read once, and then the manifest is known."""

    repeatable = False
    size = None
    label = LABEL

    def __init__(self, file: BinaryIO) -> None:
        """Read what stands before the first part. Raises ``Damaged``, or ``RestoreFailed`` for an older format."""
        self._file = file
        self._advance: Advance = unheard
        self._found: dict[str, _Seen] = {}
        self._manifest: Manifest | None = None
        first = self._next()
        if first is None or first.name != manifest.ABOUT:
            raise RestoreFailed(
                f"{self.label} is no stream of a backup; one of format 1 is restored by its file's name"
            )
        self.about: About = read_about(self.label, self._small(first))

    @property
    def manifest(self) -> Manifest:
        """What it holds, once all parts are read."""
        if self._manifest is None:
            raise RuntimeError("the parts come first")
        return self._manifest

    def verify(self) -> None:
        """Do nothing: a stream is compared while it is read."""

    def parts(self, advance: Advance = unheard) -> Iterator[IncomingPart]:
        """Give back the parts in their order, then compare all that was read with the manifest. Raises ``Damaged``."""
        self._advance = advance
        member = self._next()
        while member is not None and member.name != manifest.NAME:
            part = _Pieces(self, member)
            content = part.content()
            yield IncomingPart(part.name, content)
            for _rest in content:
                pass
            member = part.following
        if member is None:
            raise Damaged(self.label, f"it has no {manifest.NAME} (it was cut off, or never was a backup)")
        self._end(member)

    def _end(self, member: tarfile.TarInfo) -> None:
        text = self._small(member)
        found = read_manifest(self.label, text)
        listed = {part.name: (part.bytes, part.content_bytes, part.sha256) for part in found.parts}
        if {name: seen for name, seen in self._found.items() if name != manifest.NAME} != listed:
            raise Damaged(self.label, "its parts are not those of its manifest")
        if (found.service, found.schema_revision) != (self.about.service, self.about.schema_revision):
            raise Damaged(self.label, "its end is not that of its beginning")
        last = self._next()
        if last is None or last.name != CHECKSUMS:
            raise Damaged(self.label, f"it has no {CHECKSUMS} (it was cut off)")
        expected = {name: digest for name, (_bytes, _content_bytes, digest) in self._found.items()}
        if read_checksums(self._small(last)) != expected or self._next() is not None:
            raise Damaged(self.label, "its parts are not those of its checksums")
        self._manifest = found

    def piece(self, member: tarfile.TarInfo, number: int) -> Iterator[bytes]:
        """Give back the content of a file, and note its checksum and sizes. Raises ``Damaged``."""
        digest, content_bytes = hashlib.sha256(), 0
        for content in piece_content(self.label, member.name, number, self._raw(member, digest)):
            content_bytes += len(content)
            yield content
        self._found[member.name] = (member.size, content_bytes, digest.hexdigest())

    def following(self) -> tarfile.TarInfo | None:
        """Return the header that comes next. Raises ``Damaged``."""
        return self._next()

    def _next(self) -> tarfile.TarInfo | None:
        try:
            member = tar.read_header(self._file)
        except NoArchive as error:
            raise Damaged(self.label, str(error)) from None
        except OSError as error:
            raise _unreadable(self.label, error) from None
        if member is not None and (member.name in self._found or len(self._found) == MOST_PARTS):
            raise Damaged(self.label, tar.NO_TAR)
        return member

    def _raw(self, member: tarfile.TarInfo, digest: Any) -> Iterator[bytes]:
        try:
            for chunk in tar.chunks(self._file, member.size, self._advance):
                digest.update(chunk)
                yield chunk
            for _padding in tar.chunks(self._file, tar.padding(member.size), unheard):
                pass
        except NoArchive:
            raise Damaged(self.label, f"{member.name} ends too soon") from None
        except OSError as error:
            raise _unreadable(self.label, error) from None

    def _small(self, member: tarfile.TarInfo) -> bytes:
        if member.size > LARGEST_TEXT:
            raise Damaged(self.label, f"{member.name} is too long")
        return b"".join(self.piece(member, 1))


class _Pieces:
    """The pieces of one part, read one after the other; at the end, the header of what follows them."""

    def __init__(self, stream: ArchiveStream, first: tarfile.TarInfo) -> None:
        self._stream = stream
        self._first = first
        self.name = part_of(first.name)[0]
        self.following: tarfile.TarInfo | None = None

    def content(self) -> Iterator[bytes]:
        member: tarfile.TarInfo | None = self._first
        number = 0
        while member is not None and part_of(member.name)[0] == self.name:
            number += 1
            yield from self._stream.piece(member, number)
            member = self._stream.following()
        self.following = member


def standard_input() -> ArchiveStream:
    """Return the backup that arrives on the standard input. Raises ``RestoreFailed`` where that is a terminal."""
    if sys.stdin.isatty():
        raise RestoreFailed("there is no backup on a terminal: send one in, or name a file")
    return ArchiveStream(sys.stdin.buffer)


def _unreadable(label: str, error: OSError) -> RestoreFailed:
    return RestoreFailed(f"{label} could not be read: {error.strerror or type(error).__name__}")
