"""The catcher of mails as a process, and the settings by which the notifications service hands its mails to it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from vibework.testing.local import ports
from vibework.testing.local.processes import Process

START_TIMEOUT_SECONDS = 30.0
FROM = {"EMAIL_FROM": "no-reply@vibework.example", "EMAIL_FROM_NAME": "VibeWork"}


def begin(port: int, folder: Path, log: Path) -> Process:
    """Start to catch mails on a loopback port, into a folder, with a line for each in the log; `wait` for it."""
    command = [sys.executable, "-m", "vibework.testing.local.mail_catcher", str(port), str(folder)]
    return Process("the mail catcher", command, log=log, on_parent_death=signal.SIGTERM)


def wait(catcher: Process, port: int) -> None:
    """Wait until it answers. Raises `LocalProblem`."""
    catcher.wait_until(lambda: ports.answers(port), timeout=START_TIMEOUT_SECONDS)


def settings(port: int) -> dict[str, str]:
    """Return the settings of a notifications service that mails there."""
    return {"SMTP_HOST": ports.LOOPBACK, "SMTP_PORT": str(port), "SMTP_SECURITY": "none", **FROM}
