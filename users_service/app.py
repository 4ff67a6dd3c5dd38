"""The composition root of the users service: the only place that wires its parts together."""

from __future__ import annotations

from vibework.users.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from vibework.users.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from vibework.users.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from chassis.keyring import Keyring
from chassis.lifecycle import Scope
from chassis.pagetokens import PageTokens
from chassis.registration import Registration
from chassis.server import Server, build_server
from users_service.accounts.credentials import Credentials
from users_service.accounts.rotation import TokenRotation
from users_service.accounts.service import AccountService
from users_service.accounts.servicer import AccountServicer
from users_service.accounts.signing_in import AccountSignIn
from users_service.accounts.tokens import TokenCipher
from users_service.attempts.limiter import Attempts
from users_service.clock import Clock, utc_now
from users_service.database import Database
from users_service.idempotency import Idempotency
from users_service.passwords.hasher import Passwords
from users_service.sessions.creation import SessionCreation
from users_service.sessions.lookup import SessionLookup
from users_service.sessions.service import SessionService
from users_service.sessions.servicer import SessionServicer
from users_service.sessions.sign_in import SignIn
from users_service.settings import Settings
from users_service.users.reads import UserReads
from users_service.users.service import UserService
from users_service.users.servicer import UserServicer
from users_service.verifications.secrets import SecretHasher
from users_service.verifications.service import VerificationService
from users_service.verifications.servicer import VerificationServicer


async def build(settings: Settings, scope: Scope, *, clock: Clock = utc_now) -> Server:
    """Put the server together; what it opens is closed by ``scope``, newest first."""
    database = Database(settings)
    scope.resources.push_async_callback(database.close)
    await database.open()
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    passwords = Passwords.of(settings)
    scope.resources.callback(passwords.close)
    idempotency = Idempotency(database, keyring, clock)
    page_tokens = PageTokens(keyring)
    attempts = Attempts.of(database, keyring, settings)
    reads = UserReads(database)
    users = UserService(
        database=database,
        reads=reads,
        idempotency=idempotency,
        passwords=passwords,
        page_tokens=page_tokens,
        clock=clock,
        on_deleted=lambda: None,
    )
    session_service = SessionService(database, SessionLookup(database), page_tokens, clock, reads.get)
    sessions = SessionServicer(
        session_service,
        SessionCreation(idempotency, passwords, attempts, clock),
        SignIn(database, passwords, attempts, clock),
    )
    cipher = TokenCipher(keyring)
    rotation = TokenRotation(database, cipher)
    accounts = AccountServicer(
        AccountService(database, idempotency, cipher, rotation, page_tokens, clock),
        AccountSignIn(database, cipher, attempts, clock),
        Credentials(database, passwords, attempts, session_service.validate, clock),
    )
    hasher = SecretHasher(keyring)
    verifications = VerificationService(database, idempotency, hasher, attempts, passwords, clock)
    services: list[Registration] = [
        (add_UserServiceServicer_to_server, UserServicer(users)),
        (add_SessionServiceServicer_to_server, sessions),
        (add_AccountServiceServicer_to_server, accounts),
        (add_VerificationServiceServicer_to_server, VerificationServicer(verifications)),
    ]
    return build_server(settings, services, probe=database.ping, draining=scope.draining)
