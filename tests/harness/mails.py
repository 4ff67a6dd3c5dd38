"""Mails caught as script/server does: by its mail catcher, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import NamedTuple

from tests.harness.patience import wait_for
from tests.harness.workers import LOOPBACK

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


class Mails(NamedTuple):
    """Where mails are caught."""

    port: int
    folder: Path

    def texts(self, number: int = 1) -> list[str]:
        """Wait for so many mails, and return the text of each, the oldest first."""
        wait_for(lambda: len(list(self.folder.glob("*.eml"))) >= number, f"{number} mails")
        return [_text(path) for path in sorted(self.folder.glob("*.eml"))]

    def shown(self) -> str:
        """Wait for a mail, and return what script/mail shows."""
        self.texts()
        command = [sys.executable, "-m", "script.local.show_mail", "--directory", str(self.folder.parent)]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@contextmanager
def catching(directory: Path, port: int) -> Iterator[Mails]:
    """Catch mails on a port until the context ends."""
    folder = directory / "mail"
    command = [sys.executable, "-m", "script.local.mail_catcher", str(port), str(folder)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as catcher:
        try:
            wait_for(lambda: _listening(port), "the mail catcher")
            yield Mails(port, folder)
        finally:
            catcher.terminate()


def settings_for(port: int) -> dict[str, str]:
    """Return the settings with which the notifications service mails there."""
    return {
        "SMTP_HOST": LOOPBACK,
        "SMTP_PORT": str(port),
        "SMTP_SECURITY": "none",
        "EMAIL_FROM": "no-reply@vibework.example",
    }


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _text(path: Path) -> str:
    message = message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=default)
    part = message.get_body(("plain",))
    return str(part.get_content()) if isinstance(part, EmailMessage) else ""
