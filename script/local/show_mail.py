"""`script/mail`: a mail that script/server has caught, the last one unless another is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vibework.testing import Mail
from vibework.testing.local.problems import EXIT_DIED

from script.local.mail import folder_in
from script.local.server import LOCAL

SHOWN = ("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "List-Unsubscribe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print it; return the exit code: 0 shown, 1 there is none."""
    parser = argparse.ArgumentParser(prog="script/mail", description=__doc__)
    parser.add_argument("-n", type=int, default=1, metavar="N", help="the Nth mail from the last; default: 1")
    parser.add_argument("--html", action="store_true", help="its HTML in place of its text, to open in a browser")
    parser.add_argument("--directory", type=Path, default=LOCAL, help="that of script/server; default: .local")
    options = parser.parse_args(arguments)
    folder = folder_in(options.directory.resolve())
    mails = sorted(folder.glob("*.eml"))
    if not 1 <= options.n <= len(mails):
        print(f"mail: {len(mails)} mails have been caught ({folder})", file=sys.stderr)
        return EXIT_DIED
    print(shown(Mail.of(mails[-options.n].read_bytes()), html=options.html))
    return 0


def shown(mail: Mail, *, html: bool) -> str:
    """Return the headers that people look at and the text, or the HTML alone."""
    if html:
        return mail.html
    headers = [f"{name}: {mail.message[name]}" for name in SHOWN if mail.message[name]]
    return "\n".join([*headers, "", mail.text])


if __name__ == "__main__":
    sys.exit(main())
