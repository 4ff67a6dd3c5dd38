"""Puts AccountService together; for the composition root."""

from __future__ import annotations

from vibework.users.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from vibework.users.v1.user_service_pb2 import CreateUserRequest

from chassis.interceptors.validation import check_of
from chassis.serving.registration import Registration
from users_service.accounts.password_changes import Credentials
from users_service.accounts.profiles import ProfileRules
from users_service.accounts.provider_sign_in import AccountSignIn
from users_service.accounts.rotation import TokenRotation
from users_service.accounts.service import AccountService
from users_service.accounts.servicer import AccountServicer
from users_service.accounts.tokens import TokenCipher
from users_service.attempts.limiter import Attempts
from users_service.parts import Parts
from users_service.sessions.service import SessionService
from users_service.users.proofs import VoidProofs


def assemble(parts: Parts, sessions: SessionService, attempts: Attempts, void_proofs: VoidProofs) -> Registration:
    """Return AccountService with its registration."""
    database, clock = parts.database, parts.clock
    cipher = TokenCipher(parts.keyring)
    rotation = TokenRotation(database, cipher)
    profiles = ProfileRules(check_of(CreateUserRequest))
    servicer = AccountServicer(
        AccountService(database, parts.query, parts.idempotency, cipher, rotation, clock, void_proofs),
        AccountSignIn(parts.idempotency, cipher, attempts, clock, profiles=profiles, notices=parts.notices),
        Credentials(
            database,
            parts.passwords,
            attempts,
            sessions.validate,
            clock,
            void_proofs=void_proofs,
            notices=parts.notices,
        ),
        parts.pages,
    )
    return add_AccountServiceServicer_to_server, servicer
