"""The mail catcher beside script/server: its port, its process, and the settings by which mails reach it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vibework.testing.local import mail as catcher
from vibework.testing.local import ports
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.processes import Process

USUAL_PORT = 1025


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
        named = {name: os.environ[name] for name in catcher.FROM if os.environ.get(name)}
        return {**catcher.settings(self.port), **named}

    def start(self) -> None:
        """Start to catch; harmless where nothing is to be caught."""
        if not self.is_wanted:
            return
        self.log.unlink(missing_ok=True)
        self.process = catcher.begin(self.port, folder_in(self.directory), self.log)
        catcher.wait(self.process, self.port)

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
