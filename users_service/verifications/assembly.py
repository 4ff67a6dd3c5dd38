"""Puts VerificationService together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from vibework.users.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from chassis.serving.registration import Registration
from users_service.attempts.limiter import Attempts
from users_service.outbox.relay import EntryHandler
from users_service.parts import Parts
from users_service.verifications.consuming import Consumer
from users_service.verifications.secrets import SecretHasher
from users_service.verifications.sending import Courier, Mailer, SecretMails
from users_service.verifications.service import VerificationService
from users_service.verifications.servicer import VerificationServicer
from users_service.verifications.settings import urls_of
from users_service.verifications.sign_in import VerificationSignIn


def new_mails(parts: Parts, urls: str, *, reachable: bool) -> SecretMails:
    """Return the mails with secrets; ``urls``: the setting; ``reachable``: whether there is whom to have them sent."""
    return SecretMails(parts.keyring, urls_of(urls), reachable=reachable)


def courier(parts: Parts, mails: SecretMails, mailer: Mailer) -> EntryHandler:
    """Return the handler of the outbox that hands the mails over."""
    return Courier(mails, parts.database, mailer, parts.clock).carry


def assemble(parts: Parts, attempts: Attempts, mails: SecretMails, on_left: Callable[[], None]) -> Registration:
    """Return VerificationService with its registration."""
    consumer = Consumer(SecretHasher(parts.keyring), attempts, parts.clock)
    service = VerificationService(
        database=parts.database,
        idempotency=parts.idempotency,
        consumer=consumer,
        attempts=attempts,
        passwords=parts.passwords,
        notices=parts.notices,
        proved_addresses=parts.proved_addresses,
        mails=mails,
        clock=parts.clock,
        on_left=on_left,
    )
    sign_in = VerificationSignIn(
        idempotency=parts.idempotency,
        consumer=consumer,
        attempts=attempts,
        notices=parts.notices,
        proved_addresses=parts.proved_addresses,
        clock=parts.clock,
        on_left=on_left,
    )
    return add_VerificationServiceServicer_to_server, VerificationServicer(service, sign_in)
