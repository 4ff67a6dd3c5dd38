"""The keys and passwords of local services."""

from __future__ import annotations

from pathlib import Path

import pytest
from vibework.testing.local.problems import LocalProblem

from script.local import credentials


def test_made_once_for_the_owner_only(tmp_path: Path) -> None:
    """A second start reads what the first made, each service has a key of its own, and no other user can read them."""
    path = tmp_path / "credentials.env"
    made = credentials.load_or_make(path)
    assert credentials.load_or_make(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert made["USERS_SECRET_KEYS"] != made["NOTIFICATIONS_SECRET_KEYS"]


def test_what_is_known_is_kept_when_more_is_needed(tmp_path: Path) -> None:
    """A file of an older version gets what it lacks and loses nothing: lost keys make data unreadable."""
    path = tmp_path / "credentials.env"
    path.write_text("MYSQL_PASSWORD=known\n")
    made = credentials.load_or_make(path)
    assert made["MYSQL_PASSWORD"] == "known"
    assert credentials.load_or_make(path) == made


def test_damaged_file_is_named(tmp_path: Path) -> None:
    """A file that cannot be read right is not overwritten."""
    path = tmp_path / "credentials.env"
    path.write_text("USERS_SECRET_KEYS\n")
    with pytest.raises(LocalProblem, match="NAME=VALUE"):
        credentials.load_or_make(path)
    assert path.read_text() == "USERS_SECRET_KEYS\n"
