"""A relay that takes mails by SMTP, and does at any stage what a test wants: refuses, falls silent, hangs up."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from vibework.testing.local.ports import LOOPBACK

USER: Final = "relay-user"
PASSWORD: Final = "relay-password"


class Silence(Enum):
    """What a relay does in place of an answer."""

    HANG = "says nothing more"
    DROP = "closes the connection"


# An answer, or none; `421 …` closes the connection after it.
Act = str | Silence


@dataclass
class Taken:
    """A mail that the relay accepted."""

    sender: str
    recipients: list[str]
    options: list[str]
    content: bytes


@dataclass
class Relay:
    """What the relay was told, and what it is to do.

    ``extensions``: offered beside aiosmtpd's own. ``told``: the words of the last command. ``acts``: by stage,
    `GREETING`, `EHLO`, `STARTTLS`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `IN_DATA` (a line of the content is there) or
    `AFTER_DATA` (the content is there), for each mail; ``once``: for the first that comes there.
    """

    acts: dict[str, Act] = field(default_factory=dict)
    once: dict[str, Act] = field(default_factory=dict)
    # Recipients that it does not take, and what it says of them.
    refuse: dict[str, str] = field(default_factory=dict)
    extensions: Sequence[str] = ()
    # Seconds that it takes over each mail.
    pause: float = 0.0
    port: int = 0
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    mails: list[Taken] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    open: set[_Conversation] = field(default_factory=set)

    def act(self, stage: str) -> Act | None:
        """Return what to do at a stage."""
        self.commands.append(stage)
        return self.once.pop(stage, None) or self.acts.get(stage)

    def hang_up(self) -> None:
        """Close all connections, without a word."""
        for conversation in list(self.open):
            conversation.hang_up()

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, host: str, answers: list[str]
    ) -> list[str]:
        """Offer the extensions, too."""
        session.host_name = host
        return [*answers[:-1], *(f"250-{extension}" for extension in self.extensions), answers[-1]]

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a mail, and answer, or do not."""
        act = self.act("AFTER_DATA")
        if isinstance(act, str):
            return act
        if self.pause:
            await asyncio.sleep(self.pause)
        assert isinstance(envelope.original_content, bytes)
        options = [*envelope.mail_options, *envelope.rcpt_options]
        mail = Taken(envelope.mail_from or "", envelope.rcpt_tos, options, envelope.original_content)
        self.mails.append(mail)
        if act is Silence.DROP and server.transport is not None:
            server.transport.close()
        if act is not None:
            await asyncio.Event().wait()
        return f"250 2.0.0 Ok: queued as Q{len(self.mails):08d}"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        """Let one user in."""
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)


class _Conversation(SMTP):
    """One connection."""

    def __init__(self, relay: Relay, **options: Any) -> None:
        super().__init__(relay, hostname="relay.example", ident="relay", loop=asyncio.get_running_loop(), **options)
        self._relay = relay
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._greeted:
            self._relay.connections += 1
        self._relay.open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.open.discard(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            if await self._done("GREETING"):
                return
        await super().push(status)

    async def _done(self, stage: str) -> bool:
        """Do what is wanted at a stage; say whether that was all."""
        act = self._relay.act(stage)
        if act is None:
            return False
        if act is Silence.HANG:
            await asyncio.Event().wait()
        elif isinstance(act, str):
            await super().push(act)
        if act is Silence.DROP or str(act).startswith("421"):
            self.hang_up()
        return True

    async def smtp_EHLO(self, arg: str) -> None:
        if not await self._done("EHLO"):
            await super().smtp_EHLO(arg)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not await self._done("STARTTLS"):
            await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str) -> None:
        if not await self._done("AUTH"):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:
        self._relay.told["MAIL"] = arg or ""
        if arg and self._relay.extensions:
            arg = arg.split()[0]  # aiosmtpd refuses parameters that it does not know
        if not await self._done("MAIL"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        answer = next((answer for address, answer in self._relay.refuse.items() if address in (arg or "")), None)
        if answer is not None:
            await super().push(answer)
        elif not await self._done("RCPT"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if await self._done("DATA"):
            return
        if self._relay.acts.get("IN_DATA"):
            await super().push("354 go on")
            await self._reader.readline()
            await self._done("IN_DATA")
            return
        await super().smtp_DATA(arg)

    async def smtp_RSET(self, arg: str) -> None:
        self._relay.commands.append("RSET")
        await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        self._relay.commands.append("QUIT")
        await super().smtp_QUIT(arg)


@asynccontextmanager
async def running(
    relay: Relay,
    *,
    tls: ssl.SSLContext | None = None,
    at_once: bool = False,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[Relay]:
    """Let the relay listen on a free port; ``tls``: by STARTTLS, or ``at_once``."""
    chosen = {"tls_context": None if at_once else tls, "data_size_limit": None, **(options or {})}
    server = await asyncio.get_running_loop().create_server(
        lambda: _Conversation(relay, **chosen), LOOPBACK, relay.port, ssl=tls if at_once else None
    )
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.hang_up()
