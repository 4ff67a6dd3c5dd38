"""Sends mails by SMTP to a relay, over pooled connections, and tells how each fared."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiosmtplib import SMTPConnectError, SMTPException, SMTPResponseException

from chassis.clock import Clock
from notifications_service.delivery.channels import smtp_replies
from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.delivery.channels.mime import MailComposer, NoAddress
from notifications_service.delivery.channels.settings import EmailSettings
from notifications_service.delivery.channels.smtp_connection import (
    MailConnection,
    MailEnvelope,
    MailRelay,
    Progress,
    Refused,
)
from notifications_service.delivery.channels.smtp_pool import MailPool
from notifications_service.delivery.channels.smtp_replies import Reply, Stage
from notifications_service.outbox.model import Reason

# The relay closes the connection; aiosmtplib could not read the answer.
UNAVAILABLE: Final = 421
NO_ANSWER: Final = -1
_NO_ADDRESS: Final = Outcome(reason=Reason.NO_ADDRESS, final=True, detail="the address is none that mail can go to")


class SMTPSender:
    """A ``MailSender``. ``close`` closes its connections; mails on their way finish first or fail."""

    def __init__(self, settings: EmailSettings, context: ssl.SSLContext, clock: Clock) -> None:
        self._clock = clock
        self._composer = MailComposer(
            settings.email_from, settings.email_from_name, settings.email_reply_to, settings.email_headers
        )
        self._envelope_from = settings.email_envelope_from or settings.email_from
        self._pool = MailPool(MailRelay(settings, context), settings)
        # What answers later than connecting may take, on a connection that was used before, is taken for gone.
        self._patience: Final = min(settings.smtp_connect_timeout_ms, settings.smtp_timeout_ms) / 1000
        self._timeout: Final = settings.smtp_timeout_ms / 1000

    async def send(self, mail: Mail, seconds: float) -> Outcome:
        """Hand a mail to the relay within so many seconds, waiting for a free connection included.

        Raises ValueError where a mail cannot be written, which is a fault of ours.
        """
        try:
            content = self._composer.compose(mail, self._clock())
        except NoAddress:
            return _NO_ADDRESS
        envelope = MailEnvelope(mail.delivery_id, self._envelope_from, mail.to, content)
        progress = Progress()
        try:
            async with asyncio.timeout(seconds):
                return smtp_replies.accepted(await self._in_turn(envelope, progress))
        except (SMTPException, OSError, Refused) as error:  # TimeoutError among them
            return outcome_of(progress.stage, error, mail.to)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    async def _in_turn(self, envelope: MailEnvelope, progress: Progress) -> Reply:
        await self._pool.acquire()
        try:
            connection = await self._begun(envelope, progress)
            with self._given_back(connection):
                reply = await connection.hand_over(envelope, progress)
            self._pool.keep(connection)
            return reply
        finally:
            self._pool.release()

    async def _begun(self, envelope: MailEnvelope, progress: Progress) -> MailConnection:
        """Return a connection to which the sender has been named.

        One that lay idle may have ended meanwhile without a word, and others with it. Then a new one is made: nothing
        was told of the mail.
        """
        connection = self._pool.reusable()
        if connection is not None:
            try:
                with self._given_back(connection):
                    await connection.begin(envelope, progress, self._patience)
            except (SMTPException, OSError) as error:
                if _is_in_step(error):
                    raise
                self._pool.close_idle()
            else:
                return connection
        connection = await self._pool.fresh(progress)
        with self._given_back(connection):
            await connection.begin(envelope, progress, self._timeout)
        return connection

    @contextmanager
    def _given_back(self, connection: MailConnection) -> Iterator[None]:
        """Keep the connection for others where the block ends with a refusal; close it where it breaks off."""
        try:
            yield
        except BaseException as error:
            if _is_in_step(error):
                self._pool.keep(connection)
            else:
                connection.close()
            raise


def _is_in_step(error: BaseException) -> bool:
    """Say whether after this error the relay still waits for a command, and the next answer is that of the next one."""
    refusal = isinstance(error, SMTPResponseException) and error.code not in (UNAVAILABLE, NO_ANSWER)
    return refusal or isinstance(error, Refused)


def outcome_of(stage: Stage, error: Exception, recipient: str) -> Outcome:
    """Return what an error at a stage means for the mail."""
    if isinstance(error, Refused):
        return error.outcome
    if isinstance(error, SMTPResponseException) and error.code != NO_ANSWER:
        return smtp_replies.refused(stage, Reply.parse(error.code, error.message), recipient)
    if _is_of_tls(error):
        return smtp_replies.insecure(_why_insecure(error))
    if isinstance(error, TimeoutError):
        return smtp_replies.silent(stage)
    if isinstance(error, SMTPConnectError):
        return smtp_replies.unreachable()
    return smtp_replies.broken(stage)


def _is_of_tls(error: Exception) -> bool:
    return isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)


def _why_insecure(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return "the relay's certificate does not hold"
    return "no TLS session could be made with the relay"
