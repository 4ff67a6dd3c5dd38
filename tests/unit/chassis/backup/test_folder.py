"""A folder of backups: named by time, the newest kept, what was abandoned removed, and nothing else touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chassis.backup import folder, writing
from chassis.backup.errors import RestoreFailed

SERVICE = "users-service"
FIRST = datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC)
OTHERS = (
    "users-service-20260101T000000Z.backup.age",
    "users-service.backup",
    "notifications-service-20260101T000000Z.backup",
    "my-users-service-20260101T000000Z.backup",
    "notes.txt",
)


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    """Backups of five days, made in another order, beside files of others."""
    made = [folder.new_file(tmp_path, SERVICE, FIRST + timedelta(days=day)) for day in range(5)]
    for path in [*reversed(made), *(tmp_path / name for name in OTHERS)]:
        path.touch()
    return made


def test_the_newest_is_found_by_its_name(days: list[Path], tmp_path: Path) -> None:
    """A copy that was made later, or in another order, does not make an old backup the newest."""
    assert folder.newest(tmp_path, SERVICE) == days[-1]
    assert days[0].name == "users-service-20260930T235959Z.backup"


def test_only_the_oldest_backups_of_the_service_go(days: list[Path], tmp_path: Path) -> None:
    """What is removed are this service's oldest backups; files of other names stay, whatever they are."""
    assert folder.keep_newest(tmp_path, SERVICE, 2) == days[:3]
    assert folder.keep_newest(tmp_path, SERVICE, 2) == []
    assert {path.name for path in tmp_path.iterdir()} == {*OTHERS, days[3].name, days[4].name}


def test_an_empty_folder_has_no_newest(tmp_path: Path) -> None:
    """A folder without a backup is one line, and no guess at another file."""
    (tmp_path / OTHERS[0]).touch()
    with pytest.raises(RestoreFailed, match="has no backup of users-service"):
        folder.newest(tmp_path, SERVICE)


def test_what_was_abandoned_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    """A process that was killed leaves no file for good, and one that works keeps its own."""
    path = folder.new_file(tmp_path, SERVICE, FIRST)
    abandoned = tmp_path / f".{path.name}.abc.unfinished"
    abandoned.write_bytes(b"half")
    (tmp_path / ".notes.unfinished").touch()
    with writing.create(path) as archive:
        archive.begin(SERVICE, "0001")
        before = set(tmp_path.iterdir())
        folder.remove_abandoned(tmp_path, SERVICE)
        assert before - set(tmp_path.iterdir()) == {abandoned}
    assert path.exists()
