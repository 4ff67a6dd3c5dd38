"""Backs one service's database up every day, keeps the newest files, and restores each new one to see that it can be.

``backups.py users-service``: into the folder /backups, at BACKUPS_AT (UTC, ``hh:mm``), BACKUPS_KEEP files. A start
without a backup of the last day takes one at once. What fails is tried again after some minutes. The time of the last
backup that was taken and restored is that of the file ``.drilled``, by which the container's health check goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

FOLDER = Path("/backups")
DRILLED = FOLDER / ".drilled"
DRILL = "vibe_drill"
DAY = timedelta(days=1)
AGAIN_SECONDS = 600.0


def main(service: str, at: str, keep: str) -> None:
    """Take backups until the process is ended."""
    hour, minute = (int(number) for number in at.split(":"))
    due = first_time(hour, minute)
    while True:
        time.sleep(max(0.0, (due - now()).total_seconds()))
        if take(service, keep):
            due = next_time(now(), hour, minute)
        else:
            time.sleep(AGAIN_SECONDS)


def take(service: str, keep: str) -> bool:
    """Take a backup, restore it, and say whether both went well; the commands say themselves why not."""
    steps = (
        [service, "backup", str(FOLDER), "--keep", keep],
        # A drill that was interrupted leaves its own database unfinished, which --start-over empties.
        [service, "restore", str(FOLDER), "--drill", "--start-over", "--database", DRILL],
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            return False
    DRILLED.touch()
    return True


def first_time(hour: int, minute: int) -> datetime:
    """Return when the first backup is due: at once, unless one of the last day was taken and restored."""
    if not DRILLED.exists() or now() - datetime.fromtimestamp(DRILLED.stat().st_mtime, UTC) >= DAY:
        return now()
    return next_time(now(), hour, minute)


def next_time(after: datetime, hour: int, minute: int) -> datetime:
    """Return the next time of day after a time."""
    today = after.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > after else today + DAY


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


if __name__ == "__main__":
    main(sys.argv[1], os.environ["BACKUPS_AT"], os.environ["BACKUPS_KEEP"])
