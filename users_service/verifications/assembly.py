"""Puts VerificationService together; for the composition root."""

from __future__ import annotations

from vibework.users.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from chassis.serving.registration import Registration, partly_built
from users_service.attempts.limiter import Attempts
from users_service.parts import Parts
from users_service.verifications.secrets import SecretHasher
from users_service.verifications.service import VerificationService
from users_service.verifications.servicer import VerificationServicer


def assemble(parts: Parts, attempts: Attempts) -> Registration:
    """Return VerificationService with its registration."""
    hasher = SecretHasher(parts.keyring)
    service = VerificationService(parts.database, parts.idempotency, hasher, attempts, parts.passwords, parts.clock)
    return add_VerificationServiceServicer_to_server, partly_built(VerificationServicer)(service)
