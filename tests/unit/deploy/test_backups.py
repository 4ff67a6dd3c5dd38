"""The daily backups of compose: when they are due, and that a backup counts once it was restored."""

from __future__ import annotations

import importlib.util
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)

# A service's command that writes down how it was called, and fails where it is told to.
COMMAND = """#!/bin/sh
echo "$@" >> "$CALLS"
[ "$1" != "$FAILS" ]
"""


@pytest.fixture
def backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, with a folder and a command of the test's own, at noon."""
    spec = importlib.util.spec_from_file_location("backups", ROOT / "deploy" / "compose" / "backups.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FOLDER, module.DRILLED = tmp_path, tmp_path / ".drilled"
    module.now = lambda: NOON
    command = tmp_path / "users-service"
    command.write_text(COMMAND)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAILS", "")
    return module


def test_the_next_time_is_today_or_tomorrow(backups: Any) -> None:
    """The time of day comes next today if it is still to come, and never at once again."""
    assert backups.next_time(NOON, 12, 1) == NOON.replace(minute=1, second=0)
    assert backups.next_time(NOON, 12, 0) == NOON.replace(second=0) + timedelta(days=1)
    assert backups.next_time(NOON.replace(second=0), 12, 0) == NOON.replace(second=0) + timedelta(days=1)


@pytest.mark.parametrize(("age", "due"), [(timedelta(hours=23), False), (timedelta(hours=25), True)])
def test_a_start_makes_up_for_a_day_that_was_missed(backups: Any, age: timedelta, due: bool) -> None:
    """A stack that was down at night backs up when it comes back; one that was restarted by day does not."""
    assert backups.first_time(2, 10) == NOON
    backups.DRILLED.touch()
    at = (NOON - age).timestamp()
    os.utime(backups.DRILLED, (at, at))
    assert (backups.first_time(2, 10) == NOON) == due


def test_a_backup_counts_once_it_was_restored(backups: Any, tmp_path: Path) -> None:
    """The two commands of the documents, one after the other; the health check sees the end of the second."""
    assert backups.take("users-service", "14") is True
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [
        f"backup {tmp_path} --keep 14",
        f"restore {tmp_path} --drill --start-over --database vibe_drill",
    ]
    documented = (ROOT / "docs" / "backups.md").read_text()
    assert all(f"users-service {call.replace(str(tmp_path), '/backups')}" in documented for call in calls)
    assert backups.DRILLED.exists()


@pytest.mark.parametrize(("fails", "calls"), [("backup", 1), ("restore", 2)])
def test_what_failed_does_not_count(
    backups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, calls: int
) -> None:
    """Neither a backup that was not taken nor one that could not be restored makes the container healthy."""
    monkeypatch.setenv("FAILS", fails)
    assert backups.take("users-service", "14") is False
    assert len((tmp_path / "calls").read_text().splitlines()) == calls
    assert not backups.DRILLED.exists()
