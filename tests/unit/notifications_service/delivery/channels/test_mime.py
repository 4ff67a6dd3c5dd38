"""Mails on the wire: what a mail says comes back, and nothing that it says becomes a header."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifications_service.delivery.channels.channel import Mail
from notifications_service.delivery.channels.mime import MailComposer, NoAddress, listed, one_line
from notifications_service.delivery.channels.settings import MessageSettings

AT: Final = datetime(2026, 11, 27, 16, 30, tzinfo=UTC)
FROM: Final = "no-reply@vibe.example"
HEADERS: Final = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "MIME-Version"]
TEXTS: Final = st.text(alphabet=st.characters(codec=None), max_size=300)
LONGEST_LINE: Final = 998  # RFC 5322, 2.1.1


def read(content: bytes) -> EmailMessage:
    """Return a mail as its reader's program sees it."""
    return message_from_bytes(content, _class=EmailMessage, policy=default)


def body(message: EmailMessage, kind: str) -> str:
    """Return its text, or its HTML."""
    part = message.get_body((kind,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
@example(
    "a\r\nBcc: eve@example.com", "b\n\nhi", "c\r\n.\r\nQUIT", "d\x85Bcc: x", "e\u2028Bcc: y", "https://x/\r\nBcc: z"
)
@example("=?utf-8?q?a=0ABcc:_eve?=", "\udcff", "\udcff", "", "\x00", "https://x/ä ö<>")
@example("", "x" * 255, "", "", "", "https://x/" + "a" * 889 + "\udcff")
def test_no_field_becomes_a_header(  # noqa: PLR0917 - hypothesis gives them by position
    name: str, subject: str, text: str, html: str, thread: str, url: str
) -> None:
    """Whatever a caller, a user's name or a token holds, the headers are those that a mail is to have."""
    mail = Mail("dlv_1", "ada@example.com", subject, text, html, unsubscribe_url=url, thread=thread)
    content = MailComposer(FROM, name).compose(mail, AT)
    head = content.split(b"\r\n\r\n", 1)[0].decode("ascii")
    names = re.findall(r"^([^\s:]+):", head, re.MULTILINE)
    expected = [*HEADERS]
    if not (text and html):
        expected.append("Content-Transfer-Encoding")
    if thread:
        expected += ["In-Reply-To", "References"]
    if listed(url):
        expected += ["List-Unsubscribe", "List-Unsubscribe-Post"]
    assert sorted(names) == sorted(expected)
    message = read(content)
    assert sorted(message.keys()) == sorted(expected)
    assert one_line(str(message["Subject"])) == one_line(subject).encode("utf-8", "replace").decode()
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert content.endswith(b"\r\n")
    assert max(map(len, head.split("\r\n"))) <= LONGEST_LINE


@given(st.text(min_size=1, max_size=2000), st.text(min_size=1, max_size=2000))
@example(".\n..\nFrom x\n--=_dlv_1\n--=_dlv_1--\n", "<p>" + "é" * 1500 + "</p>")
def test_both_bodies_come_back_as_they_were(text: str, html: str) -> None:
    """Dots, boundaries, long lines and any character; line ends are those of mails."""
    message = read(MailComposer(FROM).compose(Mail("dlv_1", "ada@example.com", "x", text, html), AT))
    for kind, given_text in (("plain", text), ("html", html)):
        wanted = given_text.replace("\r\n", "\n").replace("\r", "\n")
        assert body(message, kind).rstrip("\n") == wanted.rstrip("\n")


def test_a_mail_has_the_headers_that_programs_read() -> None:
    """Filters, threads, one-click unsubscribe, and who drops repeats by the Message-ID."""
    mail = Mail(
        "dlv_1", "ada@example.com", "Olá", "x", "<p>x</p>",
        reply_to="help@vibe.example", unsubscribe_url="https://vibe.example/u?token=" + "a" * 400, thread="order 7",
    )  # fmt: skip
    message = read(MailComposer(FROM, "Vibe, Ação").compose(mail, AT))
    assert str(message["From"]) == f'"Vibe, Ação" <{FROM}>'
    assert message["Message-ID"] == "<dlv_1@vibe.example>"
    assert message["Date"] == "Fri, 27 Nov 2026 16:30:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Reply-To"] == "help@vibe.example"
    assert message["List-Unsubscribe"] == f"<{mail.unsubscribe_url}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["References"] == message["In-Reply-To"]


def test_a_url_is_listed_as_it_is_unless_no_line_could_hold_it() -> None:
    """Tokens, queries and other hosts' letters; a URL that was cut would unsubscribe nobody."""
    url = "https://vibe.example/u?token=a-b_c~d%20e&x=[1]#y"
    assert listed(url) == url
    assert listed("https://vibe.example/ü >") == "https://vibe.example/%C3%BC%20%3E"
    assert listed("https://vibe.example/" + "a" * 880) == ""
    assert listed("") == ""


def test_mails_of_a_thread_answer_the_same_mail() -> None:
    """Whichever comes first, mailboxes show them together; those of another thread stay apart."""
    roots = [
        read(MailComposer(FROM).compose(Mail(f"dlv_{n}", "a@b.c", "x", "x", "", thread=thread), AT))["References"]
        for n, thread in enumerate(["one", "one", "two"])
    ]
    assert roots[0] == roots[1] != roots[2]


def test_answers_go_where_the_settings_say_unless_the_mail_does() -> None:
    """The mail's own address comes first."""
    composer = MailComposer(FROM, reply_to="settings@vibe.example")
    assert read(composer.compose(Mail("dlv_1", "a@b.c", "x", "x", ""), AT))["Reply-To"] == "settings@vibe.example"
    own = Mail("dlv_1", "a@b.c", "x", "x", "", reply_to="mail@vibe.example")
    assert read(composer.compose(own, AT))["Reply-To"] == "mail@vibe.example"


def test_a_relay_is_told_what_the_settings_say() -> None:
    """With each delivery's id, so that its reports can name it; no header of ours can be replaced that way."""
    headers = {"X-PM-Metadata-delivery": "{delivery_id}", "X-SES-CONFIGURATION-SET": "vibe"}
    message = read(MailComposer(FROM, headers=headers).compose(Mail("dlv_1", "a@b.c", "x", "x", ""), AT))
    assert (message["X-PM-Metadata-delivery"], message["X-SES-CONFIGURATION-SET"]) == ("dlv_1", "vibe")
    for wrong in ({"From": "eve@example.com"}, {"X-A": "b\r\nBcc: x"}, {"X-A:": "b"}, {"X-A": "é"}):
        with pytest.raises(ValueError, match="names are X-"):
            MessageSettings(email_headers=wrong)


@pytest.mark.parametrize("field", ["to", "reply_to"])
def test_what_is_no_address_is_refused(field: str) -> None:
    """An address with a line end would be a header, and with a space several addresses."""
    fields = {"to": "a@b.c", field: "a@b.c\r\nBcc: x@y.z"}
    with pytest.raises(NoAddress):
        MailComposer(FROM).compose(Mail("dlv_1", subject="x", text="x", html="", **fields), AT)
