"""One connection to a relay: opened as the settings ask, and mails handed over on it, stage by stage."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from aiosmtplib import SMTP, SMTPException, SMTPResponse, SMTPResponseException

from notifications_service.delivery.channels import smtp_replies
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.channels.settings import RelaySettings
from notifications_service.delivery.channels.smtp_replies import Reply, Stage

_is_host_name = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?").fullmatch
GO_ON: Final = 354


class Refused(Exception):
    """The relay cannot be used for a mail, which no answer of it says by its code."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


@dataclass(slots=True)
class Progress:
    """How far one mail has come; read when it comes no further."""

    stage: Stage = Stage.WAITING


@dataclass(frozen=True, slots=True)
class MailEnvelope:
    """What the relay is told of a mail (RFC 5321), and its content, which ends with CRLF.

    ``id``: told back in reports of its fate (RFC 3461, ENVID).
    """

    id: str
    sender: str
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)


class MailConnection:
    """A connection that is open and signed in; ``MailRelay.connect`` makes one.

    Its methods raise errors of aiosmtplib, TimeoutError, OSError and Refused.
    """

    def __init__(self, client: SMTP, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._in_transaction = False
        self.sent = 0

    @property
    def is_usable(self) -> bool:
        """Say whether another mail can be handed over on it, as far as this end knows."""
        return self._client.is_connected

    async def begin(self, envelope: MailEnvelope, progress: Progress, patience: float) -> None:
        """Name the sender; ``patience``: seconds for each answer. A mail that comes no further was not sent."""
        progress.stage = Stage.MAIL
        largest = self._largest()
        if 0 < largest < len(envelope.content):
            raise Refused(smtp_replies.too_large(largest))
        if self._in_transaction:
            await self._client.rset(timeout=patience)
        self._in_transaction = True
        await self._client.mail(envelope.sender, options=list(self._options(envelope)), timeout=patience)

    async def hand_over(self, envelope: MailEnvelope, progress: Progress) -> Reply:
        """Name the recipient and hand the content over, after ``begin``; return the answer that accepts it."""
        progress.stage = Stage.RCPT
        await self._client.rcpt(envelope.recipient, timeout=self._timeout)
        progress.stage = Stage.DATA
        started = await self._client.execute_command(b"DATA", timeout=self._timeout)
        if started.code != GO_ON:
            raise SMTPResponseException(started.code, started.message)
        done = await self._content(envelope.content, progress)
        if not 200 <= done.code < 300:
            raise SMTPResponseException(done.code, done.message)
        self._in_transaction = False
        self.sent += 1
        return Reply.parse(done.code, done.message)

    async def _content(self, content: bytes, progress: Progress) -> SMTPResponse:
        protocol = self._client.protocol
        if protocol is None:
            raise ConnectionResetError
        protocol.write(_stuffed(content))
        progress.stage = Stage.CONTENT
        return await protocol.read_response(timeout=self._timeout)

    def _largest(self) -> int:
        told = self._client.esmtp_extensions.get("size", "")
        return int(told) if told.isdecimal() else 0

    def _options(self, envelope: MailEnvelope) -> Iterator[str]:
        if self._client.supports_extension("size"):
            yield f"SIZE={len(envelope.content)}"
        if self._client.supports_extension("dsn"):
            yield "RET=HDRS"
            yield f"ENVID={envelope.id}"

    def close(self) -> None:
        """Close: with a goodbye whose answer is not waited for, or in the middle of a mail without one."""
        if self._client.protocol is not None and not self._in_transaction:
            with contextlib.suppress(SMTPException, RuntimeError):
                self._client.protocol.write(b"QUIT\r\n")
        elif isinstance(self._client.transport, asyncio.Transport):
            # What is not sent yet is not waited for either: a relay that reads nothing would hold it for ever.
            self._client.transport.abort()
        self._client.close()


class MailRelay:
    """Where connections are made to, and how."""

    def __init__(self, settings: RelaySettings, context: ssl.SSLContext) -> None:
        """``context``: checks the relay's certificate, where there is one."""
        self._settings = settings
        self._context = context
        self._host_name = own_host_name()

    async def connect(self, progress: Progress) -> MailConnection:
        """Return a connection that mails can be handed over on. Raises what the methods of MailConnection raise."""
        settings = self._settings
        client = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            local_hostname=self._host_name,
            use_tls=settings.smtp_security == "tls",
            start_tls=False,
            tls_context=self._context,
            timeout=settings.smtp_timeout_ms / 1000,
        )
        try:
            await self._open(client, progress)
        except BaseException:
            client.close()
            raise
        return MailConnection(client, settings.smtp_timeout_ms / 1000)

    async def _open(self, client: SMTP, progress: Progress) -> None:
        progress.stage = Stage.CONNECT
        await client.connect(timeout=self._settings.smtp_connect_timeout_ms / 1000)
        progress.stage = Stage.EHLO
        await client.ehlo()
        if self._settings.smtp_security == "starttls":
            progress.stage = Stage.TLS
            if not client.supports_extension("starttls"):
                raise Refused(smtp_replies.insecure("the relay offers no STARTTLS"))
            await client.starttls()
            progress.stage = Stage.EHLO
            await client.ehlo()
        if self._settings.smtp_user:
            progress.stage = Stage.AUTH
            await self._sign_in(client)

    async def _sign_in(self, client: SMTP) -> None:
        if not client.supported_auth_methods:
            raise Refused(smtp_replies.no_sign_in("the relay offers no way to sign in that this system knows"))
        password = self._settings.smtp_password
        await client.login(self._settings.smtp_user, password.get_secret_value() if password else "")


def own_host_name() -> str:
    """Return the name that this machine greets with, as the machine knows it; no name server is asked."""
    name = socket.gethostname()
    return name if _is_host_name(name) else "localhost"


def _stuffed(content: bytes) -> bytes:
    """Return a content as DATA takes it: a line that begins with a dot gets another one (RFC 5321, 4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"%s%s.\r\n" % (b"." if stuffed.startswith(b".") else b"", stuffed)
