"""Mails that tests of others look for: whose they are, what is in them, and what is said where there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from vibework.testing import Mail, Mailbox, NoMails
from vibework.testing._mails import Folder, Mailpit, named

HTML = "<p>Your code is <b>123456</b></p>"


def mail(to: str, subject: str, text: str = "Your code is 123456: https://app.example/in?t=1\n") -> bytes:
    """Return a mail with a text and an HTML part."""
    return (
        f"From: VibeWork <no-reply@vibework.example>\r\nTo: Ada <{to}>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{HTML}\r\n--b--\r\n"
    ).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three mails to two people, in their order."""
    sent = [("ada@example.com", "One"), ("bob@example.com", "Two"), ("ADA@example.com", "Three")]
    for number, (to, subject) in enumerate(sent):
        (tmp_path / f"20260101-{number}.eml").write_bytes(mail(to, subject))
    (tmp_path / "20260101-3.unfinished").write_bytes(mail("ada@example.com", "Half"))
    return tmp_path


class Api(BaseHTTPRequestHandler):
    """The two calls of Mailpit's API that are used, as its documentation describes them: newest first."""

    kept = (mail("ada@example.com", "Old"), mail("ada@example.com", "New"), mail("not.ada@example.com", "Other"))

    def do_GET(self) -> None:
        """Answer a search, or a message as it was sent."""
        asked = urlsplit(self.path)
        if asked.path == "/api/v1/search":
            assert parse_qs(asked.query)["query"] == ["to:ada@example.com"]
            answer = json.dumps({"messages": [{"ID": str(number)} for number in reversed(range(3))]}).encode()
        else:
            answer = self.kept[int(asked.path.split("/")[4])]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def mailpit() -> Iterator[str]:
    """The URL of such an API."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_mail_is_read_as_people_and_programs_do() -> None:
    """Its parts, the code and the link in it."""
    read = Mail.of(mail("ada@example.com", "Hello"))
    assert (read.to, read.subject) == (["ada@example.com"], "Hello")
    assert (read.text, read.html) == ("Your code is 123456: https://app.example/in?t=1", HTML)
    assert (read.codes, read.links) == (["123456"], ["https://app.example/in?t=1"])


def test_mails_are_found_by_their_recipient(folder: Path) -> None:
    """In their order, whatever case the address has; those of others and what is still being written are not."""
    mailbox = Mailbox(Folder(folder))
    assert [each.subject for each in mailbox.of("ada@example.com")] == ["One", "Three"]
    assert mailbox.wait("ada@example.com").subject == "Three"
    assert mailbox.wait("ada@example.com", "One").subject == "One"


def test_what_came_in_its_place_is_said(folder: Path) -> None:
    """Who waited for nothing reads which mails there were."""
    with pytest.raises(AssertionError, match=r"subject 'Four' came to ada@example.com .*: \['One', 'Three'\]"):
        Mailbox(Folder(folder)).wait("ada@example.com", "Four", seconds=0.05)


def test_mails_of_a_mailpit_are_found_too(mailpit: str) -> None:
    """Oldest first, and only those to the very address: its search finds parts of words."""
    mails = named(mailpit)
    assert isinstance(mails, Mailpit)
    assert [each.subject for each in mails.sent_to("ada@example.com")] == ["Old", "New"]


def test_where_nobody_catches_mails_that_is_said() -> None:
    """And what to name."""
    with pytest.raises(NoMails, match="VIBEWORK_MAILS"):
        Mailbox(named(""))
    with pytest.raises(ValueError, match="not the URL of a Mailpit"):
        named("smtp://127.0.0.1:1025")
