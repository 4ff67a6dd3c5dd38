"""A mail as it goes over the wire (RFC 5322, RFC 2046), made so that no field can become a header of its own.

Signing (DKIM) is the relay's: it knows the domain's keys, and what it adds itself is signed, too.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_qp
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.header import Header
from email.message import Message
from email.policy import Compat32
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote

from notifications_service.delivery.channels.addresses import is_address
from notifications_service.delivery.channels.channel import Mail

LINE_CHARACTERS: Final = 76
URL_CHARACTERS: Final = 900
# What may stand in a URL between angle brackets as it is; all else is percent-encoded.
_URL_CHARACTERS: Final = "!#$%&'()*+,/:;=?@[]~"
_is_plain_name = re.compile(r"[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]*").fullmatch
_unsafe = re.compile(r"[^A-Za-z0-9_]")
_is_header_value = re.compile(r"[ -~]*").fullmatch


class NoAddress(ValueError):
    """What a mail is to go to is no address."""


class _OneLine(Compat32):
    """Takes headers of one line of printable ASCII alone, and folds them at their spaces.

    What was folded before, or would begin another header, is refused.
    """

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        if not (isinstance(value, str) and _is_header_value(value)):
            raise ValueError(f"the header {name} is not one line of ASCII")
        return name, value

    def fold(self, name: str, value: str) -> str:
        lines = [f"{name}:"]
        for word in value.split(" "):
            # What is longer than a line stays whole: a URL that is cut is none. The first word is never moved, because
            # no line may be white space alone.
            if len(lines[-1]) + 1 + len(word) > LINE_CHARACTERS and not lines[-1].endswith(":"):
                lines.append("")
            lines[-1] += f" {word}"
        return "".join(f"{line}{self.linesep}" for line in lines)

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("ascii")


_POLICY: Final = _OneLine(linesep="\r\n", max_line_length=LINE_CHARACTERS)


def one_line(text: str) -> str:
    """Return text without control characters and line ends of any kind, each run of white space as one space."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())


def listed(url: str) -> str:
    """Return a URL as it stands in List-Unsubscribe; empty where there is none.

    One of more than 900 characters would fit into no line (RFC 5322, 2.1.1); the mail's footer has it all the same.
    """
    encoded = quote(url, safe=_URL_CHARACTERS, errors="replace")
    return encoded if len(encoded) <= URL_CHARACTERS else ""


def message_id(delivery_id: str, address: str) -> str:
    """Return the Message-ID of a delivery's mail, of the domain of the address that it is from."""
    return f"<{delivery_id}@{address.rpartition('@')[2]}>"


class MailComposer:
    """Writes mails from one sender, ``address``, shown as ``name``.

    Answers go to ``reply_to`` where a mail names none. ``headers``: further ones of every mail.
    """

    def __init__(
        self, address: str, name: str = "", reply_to: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self._address = address
        self._from = _mailbox(name, address)
        self._reply_to = reply_to
        self._own = headers or {}

    def compose(self, mail: Mail, at: datetime) -> bytes:
        """Return the whole message with CRLF line ends, in 7-bit ASCII. Raises NoAddress, ValueError.

        ``at`` is aware. The same mail at the same time gives the same bytes but for the boundary of its parts.
        """
        message = _body(mail)
        for name, value in self._headers(mail, at):
            message[name] = value
        return message.as_bytes(policy=_POLICY)

    def _headers(self, mail: Mail, at: datetime) -> Iterator[tuple[str, str]]:
        yield "From", self._from
        yield "To", _checked(mail.to)
        yield "Subject", _words("Subject", mail.subject)
        yield "Date", format_datetime(at)
        yield "Message-ID", message_id(mail.delivery_id, self._address)
        # RFC 3834: no automatic answers, such as those of people who are on holiday.
        yield "Auto-Submitted", "auto-generated"
        if mail.reply_to or self._reply_to:
            yield "Reply-To", _checked(mail.reply_to or self._reply_to)
        if mail.thread:
            root = self._root(mail.thread)
            yield "In-Reply-To", root
            yield "References", root
        if url := listed(mail.unsubscribe_url):
            yield "List-Unsubscribe", f"<{url}>"
            yield "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"
        for name, value in self._own.items():
            yield name, value.replace("{delivery_id}", mail.delivery_id)

    def _root(self, thread: str) -> str:
        """Return the Message-ID that all mails of a thread answer; no mail has it, and none has to be the first."""
        digest = hashlib.sha256(thread.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return message_id(f"thread.{digest}", self._address)


def _body(mail: Mail) -> Message:
    parts = [_part(text, kind) for text, kind in ((mail.text, "plain"), (mail.html, "html")) if text]
    if len(parts) < 2:
        message = parts[0] if parts else _part("", "plain")
    else:
        message = Message(policy=_POLICY)
        # No quoted-printable text has "=_" in it, so the boundary is in no part.
        message["Content-Type"] = f'multipart/alternative; boundary="=_{_unsafe.sub("", mail.delivery_id)}"'
        for part in parts:  # the best last (RFC 2046, 5.1.4)
            message.attach(part)
    message["MIME-Version"] = "1.0"
    return message


def _part(text: str, kind: str) -> Message:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    if not lines.endswith(b"\n"):  # else what ends the mail would stand on its last line
        lines += b"\n"
    part = Message(policy=_POLICY)
    part["Content-Type"] = f'text/{kind}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = "quoted-printable"
    part.set_payload(b2a_qp(lines, istext=True).decode("ascii"))
    return part


def _checked(address: str) -> str:
    if not is_address(address):
        raise NoAddress
    return address


def _mailbox(name: str, address: str) -> str:
    if not name:
        return _checked(address)
    shown = name if _is_plain_name(name) else _quoted_or_encoded(one_line(name))
    return f"{shown} <{_checked(address)}>"


def _quoted_or_encoded(name: str) -> str:
    if name.isascii():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _words("From", name)


def _words(name: str, text: str) -> str:
    """Return a header's text in ASCII, as encoded words (RFC 2047) where it has other characters, in one line."""
    line = one_line(text)
    if line.isascii() and "=?" not in line:
        return line
    return Header(line, "utf-8", maxlinelen=LINE_CHARACTERS, header_name=name).encode(linesep="\n").replace("\n", "")
