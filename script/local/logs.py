"""Shows what the services write to their log files, each line after its service's name."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

INTERVAL_SECONDS = 0.2
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LogFollower:
    """Copies lines added to log files to standard output until stopped.

    The services write to files, not to a pipe, so that they never wait for a terminal that is not read.
    """

    def __init__(self, logs: Sequence[tuple[str, Path]]) -> None:
        """Follow each (name, file) from the file's beginning."""
        self._width = max(len(name) for name, _ in logs)
        self._files = [(name, path.open("rb")) for name, path in logs]
        self._in_colour = sys.stdout.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="logs", daemon=True)

    def start(self) -> None:
        """Start to copy."""
        self._thread.start()

    def stop(self) -> None:
        """Copy what is still there, then stop."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for _, file in self._files:
            file.close()

    def _follow(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        for name, file in self._files:
            start = file.tell()
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            file.seek(start + len(whole))  # the rest of the last line comes with the next reading
            for line in whole.decode(errors="replace").splitlines():
                print(f"{name:<{self._width}} | {line if self._in_colour else COLOUR.sub('', line)}")
        sys.stdout.flush()
