"""What was mailed: in a folder that a catcher writes, or in a Mailpit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from vibework.testing import _waiting
from vibework.users.v1 import User

_HTTP_SECONDS: Final = 10.0
_CODE: Final = re.compile(r"\b[0-9]{6}\b")
_LINK: Final = re.compile(r"https?://[^\s<>\"]+")


class NoMails(Exception):
    """Nobody catches what this pair mails."""


@dataclass(frozen=True)
class Mail:
    """A mail as it was sent."""

    message: EmailMessage

    @classmethod
    def of(cls, content: bytes) -> Mail:
        """Read a mail (RFC 5322)."""
        return cls(message_from_bytes(content, _class=EmailMessage, policy=default))

    @property
    def to(self) -> list[str]:
        """The addresses that it names as its recipients."""
        return [address for _, address in getaddresses([str(each) for each in self.message.get_all("To", [])])]

    @property
    def subject(self) -> str:
        """Its subject."""
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """Its text, or else its HTML."""
        return self._body(("plain", "html"))

    @property
    def html(self) -> str:
        """Its HTML, or else its text."""
        return self._body(("html", "plain"))

    @property
    def codes(self) -> list[str]:
        """The codes of six digits in its text, as verifications have them."""
        return _CODE.findall(self.text)

    @property
    def links(self) -> list[str]:
        """The links in its text."""
        return _LINK.findall(self.text)

    def _body(self, preferred: tuple[str, ...]) -> str:
        part = self.message.get_body(preferred)
        return str(part.get_content()).replace("\r\n", "\n").rstrip() if isinstance(part, EmailMessage) else ""


class Mails(Protocol):
    """Where mails are caught."""

    def sent_to(self, address: str) -> list[Mail]:
        """Return the mails to an address, oldest first."""
        ...


class Folder:
    """A folder of `.eml` files, named so that their order is that of the mails; script/server has one, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[str, Mail] = {}

    def sent_to(self, address: str) -> list[Mail]:
        """Return the mails to an address, oldest first."""
        for file in self._path.glob("*.eml"):
            if file.name not in self._read:
                self._read[file.name] = Mail.of(file.read_bytes())
        return [mail for _, mail in sorted(self._read.items(), key=lambda item: item[0]) if _is_to(mail, address)]


class Mailpit:
    """A Mailpit (https://mailpit.axllent.org), by its URL."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError(f"not the URL of a Mailpit: {url}")
        self._url = url.rstrip("/")

    def sent_to(self, address: str) -> list[Mail]:
        """Return the mails to an address, oldest first."""
        found: dict[str, Any] = json.loads(self._get(f"/search?limit=200&query={quote(f'to:{address}')}"))
        mails = (Mail.of(self._get(f"/message/{each['ID']}/raw")) for each in reversed(found["messages"]))
        return [mail for mail in mails if _is_to(mail, address)]

    def _get(self, path: str) -> bytes:
        with urlopen(f"{self._url}/api/v1{path}", timeout=_HTTP_SECONDS) as answer:  # noqa: S310 - http, see above
            content: bytes = answer.read()
        return content


def _is_to(mail: Mail, address: str) -> bool:
    return address.casefold() in {each.casefold() for each in mail.to}


def named(where: str) -> Mails | None:
    """Return the mails that a setting names: a Mailpit by its URL, or a folder; None: none."""
    if not where:
        return None
    return Mailpit(where) if "://" in where else Folder(Path(where))


class Mailbox:
    """What was mailed to whom. Users that ``make_user`` makes have addresses of their own, so mails do not mix."""

    def __init__(self, mails: Mails | None) -> None:
        if mails is None:
            raise NoMails(
                "nobody catches what this pair mails: name its Mailpit, or its folder of mails, in VIBEWORK_MAILS"
            )
        self._mails = mails

    def of(self, to: User | str) -> list[Mail]:
        """Return what was mailed to a user or an address so far, oldest first."""
        return self._mails.sent_to(_address(to))

    def wait(self, to: User | str, subject: str | None = None, *, seconds: float = _waiting.SECONDS) -> Mail:
        """Return the newest mail to a user or an address, with this subject if one is given, once there is one.

        Raises AssertionError, with the subjects of what came instead, where there is none within ``seconds``.
        """

        def found() -> Mail | None:
            return next(self._newest_first(to, subject), None)

        def missing() -> AssertionError:
            wanted = "" if subject is None else f" with the subject {subject!r}"
            others = [mail.subject for mail in self.of(to)]
            return AssertionError(f"no mail{wanted} came to {_address(to)} within {seconds:g} s; what came: {others}")

        return _waiting.wait_for(found, missing, seconds)

    def _newest_first(self, to: User | str, subject: str | None) -> Iterator[Mail]:
        return (mail for mail in reversed(self.of(to)) if subject in {None, mail.subject})


def _address(to: User | str) -> str:
    return to if isinstance(to, str) else to.email
