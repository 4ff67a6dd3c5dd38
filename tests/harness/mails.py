"""Mails caught as script/server does: by its mail catcher, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vibework.testing import Mail
from vibework.testing.local import mail

from tests.harness.patience import wait_for

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


class Mails(NamedTuple):
    """Where mails are caught."""

    port: int
    folder: Path

    def texts(self, number: int = 1) -> list[str]:
        """Wait for so many mails, and return the text of each, the oldest first."""
        wait_for(lambda: len(list(self.folder.glob("*.eml"))) >= number, f"{number} mails")
        return [Mail.of(path.read_bytes()).text for path in sorted(self.folder.glob("*.eml"))]

    def shown(self) -> str:
        """Wait for a mail, and return what script/mail shows."""
        self.texts()
        command = [sys.executable, "-m", "script.local.show_mail", "--directory", str(self.folder.parent)]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@contextmanager
def catching(directory: Path, port: int) -> Iterator[Mails]:
    """Catch mails on a port until the context ends."""
    folder = directory / "mail"
    catcher = mail.begin(port, folder, directory / "mail.log")
    try:
        mail.wait(catcher, port)
        yield Mails(port, folder)
    finally:
        catcher.stop()
