"""A folder of backups: one file for each time, of which the newest stay."""

from __future__ import annotations

import fcntl
import re
from datetime import datetime
from pathlib import Path
from typing import Final

from chassis.backup.errors import RestoreFailed
from chassis.commands.whole_files import UNFINISHED

# Names in the order of their times.
_TIME: Final = "%Y%m%dT%H%M%SZ"
_TIME_PATTERN: Final = r"\d{8}T\d{6}Z"
SUFFIX: Final = ".backup"


def new_file(folder: Path, service: str, at: datetime) -> Path:
    """Return the file of a backup that is taken now (UTC)."""
    return folder / f"{service}-{at:{_TIME}}{SUFFIX}"


def newest(folder: Path, service: str) -> Path:
    """Return the newest backup of a service. Raises ``RestoreFailed`` where there is none."""
    found = backups(folder, service)
    if not found:
        raise RestoreFailed(f"{folder} has no backup of {service}")
    return found[-1]


def backups(folder: Path, service: str) -> list[Path]:
    """Return the backups of a service, oldest first; files of other names are none."""
    pattern = re.compile(f"{re.escape(service)}-{_TIME_PATTERN}{re.escape(SUFFIX)}")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def keep_newest(folder: Path, service: str, number: int) -> list[Path]:
    """Remove all backups of a service but the newest ``number``; return what was removed."""
    old = backups(folder, service)[:-number]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def remove_abandoned(folder: Path, service: str) -> None:
    """Remove what backups of this service left that were killed: unfinished files that nobody writes any more."""
    for path in folder.glob(f".{service}-*{SUFFIX}.*{UNFINISHED}"):
        try:
            with path.open("rb") as file:
                # Whoever writes it holds the lock.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except OSError:
            continue
