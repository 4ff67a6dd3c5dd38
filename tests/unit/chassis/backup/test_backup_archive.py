"""The file of a backup: whole or refused, readable by common tools, and never left behind half."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.backup import writing
from chassis.backup.errors import BackupFailed, Damaged, RestoreFailed
from chassis.backup.manifest import Source
from chassis.backup.reading import Archive
from chassis.commands.cli import CommandFailed
from tests.harness.archives import extract
from tests.harness.database_servers import ROOT
from tests.harness.patience import PATIENCE_SECONDS

TAKEN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = Source(
    service="x-service",
    database="x",
    server="X 1",
    schema_revision="0001",
    taken_at=TAKEN_AT,
    counts={"rows": 3},
    position={"file": "log.1", "position": "4"},
)
# More than the reader takes at once, and not to be compressed away.
CONTENT = os.urandom(2_500_000) + bytes(3_000_000)


def write(path: Path, content: bytes = CONTENT) -> Path:
    """Write a backup with a small and a compressed part."""
    with writing.create(path) as archive:
        archive.add("small.json", b'{"a": 1}')
        with archive.part("rows.sql") as part:
            for start in range(0, len(content), 70_001):
                part.write(content[start : start + 70_001])
        archive.finish(SOURCE)
    return path


def read(path: Path) -> bytes:
    """Read the compressed part back."""
    return b"".join(Archive(path).content("rows.sql"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup that nothing happened to."""
    return write(tmp_path_factory.mktemp("whole") / "x.backup")


@settings(max_examples=25, deadline=None)
@given(content=st.one_of(st.binary(max_size=300_000), st.sampled_from([b"", b"x", bytes(1 << 20), bytes(3 << 20)])))
def test_what_was_written_is_read(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Parts of every size come back as they were, and are as large as the manifest says."""
    path = write(tmp_path_factory.mktemp("any") / "x.backup", content)
    archive = Archive(path)
    archive.verify()
    assert read(path) == content
    assert b"".join(archive.content("small.json")) == b'{"a": 1}'
    assert [part.content_bytes for part in archive.manifest.parts] == [8, len(content)]
    assert archive.manifest.taken_at == TAKEN_AT
    assert archive.manifest.position == SOURCE.position


def test_common_tools_take_it_apart(whole: Path, tmp_path: Path) -> None:
    """Who has only tar, sha256sum and a zstd reader can check a backup and get at its content."""
    with tarfile.open(whole) as archive:
        extract(archive, tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    assert json.loads((tmp_path / "manifest.json").read_text())["format"] == 2
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(whole: Path, tmp_path: Path, share: float) -> None:
    """A copy that broke off is no backup, wherever it did."""
    content = whole.read_bytes()
    path = tmp_path / "cut.backup"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(Damaged, match="is not a whole backup"):
        Archive(path).verify()


def test_a_changed_byte_is_found(whole: Path, tmp_path: Path) -> None:
    """Whichever byte of a part, the manifest or the checksums has changed, the file is refused."""
    content = bytearray(whole.read_bytes())
    path = tmp_path / "changed.backup"
    for place in _bytes_that_count(whole):
        content[place] ^= 0x20
        path.write_bytes(content)
        with pytest.raises(CommandFailed):
            Archive(path).verify()
        content[place] ^= 0x20


def _bytes_that_count(path: Path) -> list[int]:
    """Return some places in what the members hold; what tar pads with means nothing."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    return [
        member.offset_data + place
        for member in members
        for place in sorted({0, 1, member.size // 3, member.size // 2, member.size - 2})
    ]


def test_a_changed_byte_does_not_pass_unverified_either(whole: Path, tmp_path: Path) -> None:
    """Without verification the compressed stream's own checksum still stops a restore."""
    content = bytearray(whole.read_bytes())
    with tarfile.open(whole) as archive:
        member = archive.getmember("rows.sql.000001.zst")
    content[member.offset_data + member.size // 3] ^= 1
    path = tmp_path / "changed.backup"
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"rows\.sql\.000001\.zst is broken"):
        read(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """A later version's layout is named, not guessed at."""
    path = write(tmp_path / "x.backup", b"")
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(RestoreFailed, match="has format 3; this version reads format 2 and older"):
        Archive(path)


@pytest.mark.parametrize("content", [b"", b"not a tar file", bytes(10_240)])
def test_what_never_was_a_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    """Any other file is said not to be a backup."""
    path = tmp_path / "x.backup"
    path.write_bytes(content)
    with pytest.raises(Damaged):
        Archive(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A wrong name is told as such."""
    with pytest.raises(RestoreFailed, match="No such file"):
        Archive(tmp_path / "x.backup")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """A backup that fails halfway leaves no file of any name."""
    with pytest.raises(BackupFailed), writing.create(tmp_path / "x.backup") as archive:  # noqa: PT012
        archive.add("small.json", b"{}")
        raise BackupFailed("the server is gone")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    """Of two backups to one name at once the second is refused; neither is lost unasked."""
    path = tmp_path / "x.backup"
    with pytest.raises(BackupFailed, match="exists"), writing.create(path) as archive:  # noqa: PT012
        path.write_bytes(b"another's")
        archive.finish(SOURCE)
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A wrong folder is told as such."""
    with pytest.raises(BackupFailed, match="No such file"), writing.create(tmp_path / "no" / "x.backup"):
        pass


_FULL = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
from tests.unit.chassis.backup.test_backup_archive import write
from chassis.backup.errors import BackupFailed
try:
    write(Path(sys.argv[1]))
except BackupFailed as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """Where no more can be written, nothing half stays; a limit on the size of files stands in for the disk."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, tmp_path / "x.backup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    assert "could not be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []
