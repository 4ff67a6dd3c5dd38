"""Catches mails: takes all that come by SMTP on a loopback port, writes each into a folder, and sends none on.

A program of its own, which runs until SIGTERM: `python -m vibework.testing.local.mail_catcher PORT FOLDER`. It wants no
password and no encryption, and it prints a line for each mail.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from itertools import count
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from vibework.testing.local import ports

MOST_KEPT = 1_000
ACCEPTED = "250 2.0.0 Ok: queued as {name}"
NO_ROOM = "452 4.3.1 the mail could not be written"


class Folder:
    """The mails, each a file that any mail program opens; the newest MOST_KEPT stay."""

    def __init__(self, path: Path) -> None:
        """Make the folder, and go on after what is in it."""
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._numbers = count(1)
        self._kept = len(list(path.glob("*.eml")))

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail; called by aiosmtpd."""
        content = envelope.original_content or b""
        try:
            path = self._write(content)
        except OSError:
            return NO_ROOM
        subject = message_from_bytes(content, policy=default)["Subject"] or "(no subject)"
        print(f"mail to {', '.join(envelope.rcpt_tos)}: {subject} ({path})", flush=True)
        return ACCEPTED.format(name=path.stem)

    def _write(self, content: bytes) -> Path:
        # In the order of their names, also across restarts within a second.
        path = self.path / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{next(self._numbers):04d}.eml"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(content)
        unfinished.rename(path)
        self._kept += 1
        if self._kept > MOST_KEPT:
            self._forget()
        return path

    def _forget(self) -> None:
        old = sorted(self.path.glob("*.eml"))[:-MOST_KEPT]
        for path in old:
            path.unlink(missing_ok=True)
        self._kept -= len(old)


async def catch(port: int, folder: Path) -> None:
    """Catch mails until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    kept = Folder(folder)
    server = await loop.create_server(
        lambda: SMTP(kept, hostname="localhost", ident="mail catcher", loop=loop), ports.LOOPBACK, port
    )
    print(f"catching mails on {ports.LOOPBACK}:{port}", flush=True)
    await ended.wait()
    server.close()


def main(arguments: Sequence[str]) -> None:
    """Catch mails on a port, into a folder."""
    port, folder = arguments
    asyncio.run(catch(int(port), Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
