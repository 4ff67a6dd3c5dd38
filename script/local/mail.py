"""The mail catcher beside script/server: its port, its process, and the settings by which mails reach it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from script.local import ports
from script.local.problems import LocalProblem
from script.local.processes import Process

ROOT = Path(__file__).resolve().parents[2]
USUAL_PORT = 1025
START_TIMEOUT_SECONDS = 30.0


def folder_in(directory: Path) -> Path:
    """Return where mails are kept in the folder of a script/server."""
    return directory / "mail"


class MailCatcher:
    """Catches what the services mail, unless SMTP_HOST names a relay that they are to use instead."""

    def __init__(self, directory: Path, *, usual_port: bool) -> None:
        """Choose a port: MAIL_PORT, or the usual one where it is free, or any. Raises `LocalProblem`."""
        self.directory = directory
        self.process: Process | None = None
        self.port = 0 if os.environ.get("SMTP_HOST") else _port(usual=usual_port)

    @property
    def is_wanted(self) -> bool:
        """Say whether mails are to be caught."""
        return self.port > 0

    @property
    def log(self) -> Path:
        """The file that has a line for each mail."""
        return self.directory / "logs" / "mail.log"

    def environment(self) -> Mapping[str, str]:
        """Return the settings of the notifications service; none where the environment has them."""
        if not self.is_wanted:
            return {}
        return {
            "SMTP_HOST": ports.LOOPBACK,
            "SMTP_PORT": str(self.port),
            "SMTP_SECURITY": "none",
            "EMAIL_FROM": os.environ.get("EMAIL_FROM") or "no-reply@vibework.example",
            "EMAIL_FROM_NAME": os.environ.get("EMAIL_FROM_NAME") or "VibeWork",
        }

    def start(self) -> None:
        """Start to catch; harmless where nothing is to be caught."""
        if not self.is_wanted:
            return
        self.log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "script.local.mail_catcher", str(self.port), str(folder_in(self.directory))]
        self.process = Process(
            "the mail catcher", command, log=self.log, directory=ROOT, on_parent_death=signal.SIGTERM
        )
        self.process.wait_until(lambda: ports.answers(self.port), timeout=START_TIMEOUT_SECONDS)

    def forget_log(self) -> None:
        """Empty the log, of which all has been shown."""
        if self.process is not None:
            os.truncate(self.log, 0)

    def processes(self) -> list[Process]:
        """Return what must keep running."""
        return [self.process] if self.process is not None else []

    def lines(self) -> list[str]:
        """Return what the banner says."""
        if not self.is_wanted:
            return [f"mails          go to {os.environ['SMTP_HOST']} (SMTP_HOST)"]
        return [f"mails          {ports.LOOPBACK}:{self.port} catches them ({folder_in(self.directory)})"]


def _port(*, usual: bool) -> int:
    named = os.environ.get("MAIL_PORT")
    if not named:
        return ports.preferred_port(USUAL_PORT) if usual else ports.free_port()
    if not named.isdecimal() or not 0 < int(named) < 65_536:
        raise LocalProblem("MAIL_PORT is not a port number (1 to 65535)")
    if ports.is_taken(int(named)):
        raise LocalProblem(f"port {named} is taken, so mails cannot be caught there: name another one in MAIL_PORT")
    return int(named)
