"""A backup that arrives through a pipe: read once, compared at its end, refused wherever it was cut or changed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from chassis.backup import writing
from chassis.backup.errors import Damaged, RestoreFailed
from chassis.backup.incoming import Backup
from chassis.backup.manifest import Source
from chassis.backup.reading import Archive
from chassis.backup.streaming import ArchiveStream
from chassis.commands.cli import CommandFailed
from tests.unit.chassis.backup.test_backup_archive import SOURCE

# More than the compressor keeps to itself, and not to be compressed away.
CONTENT = os.urandom(20 << 20)
PARTS = {"small.json": b'{"a": 1}', "rows.sql": CONTENT, "empty.bson": b""}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup whose largest part is of several pieces."""
    path = tmp_path_factory.mktemp("stream") / "x.backup"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "PIECE_BYTES", 500_000)
        with writing.create(path) as archive:
            write(archive, SOURCE)
    return path


def write(archive: writing.ArchiveWriter, source: Source) -> None:
    """Write the parts as a service does."""
    archive.begin(source.service, source.schema_revision)
    archive.add("small.json", PARTS["small.json"])
    for name in ("rows.sql", "empty.bson"):
        with archive.part(name) as part:
            for start in range(0, len(PARTS[name]), 70_001):
                part.write(PARTS[name][start : start + 70_001])
    archive.finish(source)


def taken(backup: Backup) -> dict[str, bytes]:
    """Read all parts, in their order."""
    return {part.name: b"".join(part.content) for part in backup.parts()}


def stream(content: bytes) -> ArchiveStream:
    """Return a stream that can only be read forward."""
    return ArchiveStream(io.BufferedReader(_Forward(content)))  # type: ignore[type-var]


class _Forward(io.RawIOBase):
    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        # As a pipe does: less than was asked for.
        return self._content.readinto(memoryview(buffer)[:65_536])


def test_a_stream_and_a_file_hold_the_same(written: Path) -> None:
    """The same bytes are a file to one and a stream to the other; parts in pieces come back whole, empty ones too."""
    with tarfile.open(written) as archive:
        assert sum(member.name.startswith("rows.sql.") for member in archive) > 1
    arriving, kept = stream(written.read_bytes()), Archive(written)
    assert (arriving.about.service, arriving.about.schema_revision) == (SOURCE.service, SOURCE.schema_revision)
    assert taken(arriving) == taken(kept) == PARTS
    assert arriving.manifest == kept.manifest


def test_parts_need_not_be_read(written: Path) -> None:
    """Who takes only the names of the parts still gets to the end, and a comparison with the manifest."""
    arriving = stream(written.read_bytes())
    assert [part.name for part in arriving.parts()] == list(PARTS)
    assert arriving.manifest.counts == SOURCE.counts


def test_there_is_no_manifest_before_the_end(written: Path) -> None:
    """Nobody takes what has not been compared for a manifest."""
    arriving = stream(written.read_bytes())
    next(arriving.parts())
    with pytest.raises(RuntimeError):
        _ = arriving.manifest


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.9, 0.9998])
def test_a_stream_that_breaks_off_is_refused(written: Path, share: float) -> None:
    """Wherever a pipe ends too soon, what came is no backup."""
    content = written.read_bytes()
    with pytest.raises(Damaged, match="is not a whole backup"):
        taken(stream(content[: int(len(content) * share)]))


def test_a_changed_byte_is_found(written: Path) -> None:
    """Whichever byte of a part, the manifest or the checksums has changed, the stream is refused."""
    content = bytearray(written.read_bytes())
    with tarfile.open(written) as archive:
        members = archive.getmembers()
    for member in members:
        for place in {member.size // 3, member.size - 2} if member.size > 1 else ():
            content[member.offset_data + place] ^= 0x20
            with pytest.raises(CommandFailed):
                taken(stream(bytes(content)))
            content[member.offset_data + place] ^= 0x20


def test_pieces_that_are_missing_or_swapped_are_found(written: Path, tmp_path: Path) -> None:
    """A part is all of its pieces, in their order, from a file and from a stream."""
    with tarfile.open(written) as archive:
        files = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    first = next(number for number, (member, _) in enumerate(files) if member.name.startswith("rows.sql."))
    swapped = [*files[:first], files[first + 1], files[first], *files[first + 2 :]]
    for changed in ([*files[:first], *files[first + 1 :]], swapped):
        path = tmp_path / "x.backup"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for member, content in changed:
                archive.addfile(member, io.BytesIO(content))
        with pytest.raises(Damaged):
            taken(stream(path.read_bytes()))
    # Of the last one, in which only the order in the archive differs, a file is still right.
    Archive(path).verify()
    assert taken(Archive(path)) == PARTS


def test_what_follows_the_end_is_refused(written: Path) -> None:
    """Files behind the checksums, which nothing covers, are no part of a backup."""
    with tarfile.open(written) as archive:
        end = max(member.offset_data + member.size for member in archive)
    content = written.read_bytes()
    more = tarfile.TarInfo("more").tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Damaged):
        taken(stream(content[: end + -end % 512] + more + bytes(1024)))


@pytest.mark.parametrize("content", [b"", b"not a tar file" * 100, bytes(10_240)])
def test_what_never_was_a_backup_is_refused(content: bytes) -> None:
    """Any other input is said not to be a backup before anything is done."""
    with pytest.raises(CommandFailed):
        stream(content)


def test_an_older_format_says_how_to_restore_it() -> None:
    """A backup without a beginning for streams is restored by its name, which the line says."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("database.sql.zst"))
    with pytest.raises(RestoreFailed, match="by its file's name"):
        stream(file.getvalue())
