"""One child process in a group of its own: log in a file, stopped in order, never outliving its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vibework.testing.local import tether
from vibework.testing.local.problems import LocalProblem

LOG_TAIL_LINES = 15


class Process:
    """A running command.

    `name` is what messages call it; `log` receives its output (appended); `on_parent_death` is what the
    kernel sends it should this process die first.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        on_parent_death: signal.Signals = signal.SIGKILL,
        readable: Callable[[str], str | None] = str,
    ) -> None:
        """Start the command; `readable` turns a line of its log into one to show, or None to leave it out."""
        self.name = name
        self.log = log
        self._readable = readable
        tethered = [sys.executable, "-S", tether.__file__, str(os.getpid()), str(int(on_parent_death)), *command]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._child = subprocess.Popen(
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._child.poll()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float, interval: float = 0.05) -> None:
        """Wait until `ready` says so; raise `LocalProblem` if the process ends or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self.exit_code is not None:
                raise LocalProblem(f"{self.name} ended with code {self.exit_code} ({self.log})", detail=self.tail())
            if time.monotonic() > deadline:
                raise LocalProblem(f"{self.name} not ready after {timeout:.0f} s ({self.log})", detail=self.tail())
            time.sleep(interval)

    def stop(self, *, grace: float = 15.0) -> int:
        """Send SIGTERM, after `grace` seconds SIGKILL, to the whole group; return the exit code."""
        self.terminate()
        return self.finish(grace=grace)

    def terminate(self) -> None:
        """Send SIGTERM to the whole group, and do not wait."""
        self._signal(signal.SIGTERM)

    def finish(self, *, grace: float) -> int:
        """Wait for the end, after `grace` seconds with SIGKILL; return the exit code."""
        try:
            self._child.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._signal(signal.SIGKILL)  # what the group still holds
        return self._child.wait()

    def kill(self) -> int:
        """Send SIGKILL to the whole group; return the exit code."""
        self._signal(signal.SIGKILL)
        return self._child.wait()

    def tail(self) -> str:
        """Return the last lines that this run wrote to its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
            shown = [text for line in lines if (text := self._readable(line))]
            return "\n".join(shown[-LOG_TAIL_LINES:])
        return ""

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)
