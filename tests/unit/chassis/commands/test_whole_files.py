"""Files are whole or not there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from chassis.commands.whole_files import create


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    """Nobody else may read it, then or before."""
    path = tmp_path / "file"
    with create(path) as file:
        file.write(b"content")
        assert not path.exists()
        assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600]
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither under its name nor under the one before."""
    with pytest.raises(ConnectionError), create(tmp_path / "file") as file:  # noqa: PT012 - it fails inside
        file.write(b"content")
        raise ConnectionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_unless_told(tmp_path: Path) -> None:
    """Also one that comes while the new one is written."""
    path = tmp_path / "file"
    with pytest.raises(FileExistsError), create(path):
        path.write_text("came meanwhile")
    assert path.read_text() == "came meanwhile"
    with pytest.raises(FileExistsError), create(path):
        pass
    with create(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_text() == "new"
