"""The composition root of the users service: the only place that wires its parts together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from vibework.users.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from vibework.users.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from vibework.users.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from chassis.background import repeat, running
from chassis.clock import Clock, utc_now
from chassis.contract.keyset import Pages, TimeAndId, by_time_and_id
from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.lifecycle import Scope
from chassis.serving.server import Server, build_server
from chassis.telemetry.start import Telemetry
from chassis.telemetry.start import start as start_telemetry
from users_service import metrics
from users_service.accounts.password_changes import Credentials
from users_service.accounts.provider_sign_in import AccountSignIn
from users_service.accounts.rotation import TokenRotation
from users_service.accounts.service import AccountService
from users_service.accounts.servicer import AccountServicer
from users_service.accounts.tokens import TokenCipher
from users_service.attempts.limiter import Attempts
from users_service.credentials import repository as credentials
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.notifications_client import NotificationsClient
from users_service.outbox.model import DELETE_USER_NOTIFICATIONS
from users_service.outbox.relay import EntryHandler, Relay
from users_service.passwords.hasher import Passwords
from users_service.purge.service import Purge, PurgeRunning
from users_service.replicas.reads import Query, ReplicaReads
from users_service.sessions.creation import SessionCreation
from users_service.sessions.password_sign_in import PasswordSignIn
from users_service.sessions.reads import SessionReads
from users_service.sessions.service import SessionService
from users_service.sessions.servicer import SessionServicer
from users_service.settings import Settings
from users_service.users.reads import UserReads
from users_service.users.service import UserService
from users_service.users.servicer import UserServicer
from users_service.verifications import repository as verifications
from users_service.verifications.secrets import SecretHasher
from users_service.verifications.service import VerificationService
from users_service.verifications.servicer import VerificationServicer


@dataclass(frozen=True)
class Parts:
    """What the services share."""

    database: Database
    # For reads that replicas may carry out.
    query: Query
    keyring: Keyring
    idempotency: Idempotency
    passwords: Passwords
    pages: Pages[TimeAndId]
    attempts: Attempts
    reads: UserReads
    relay: Relay
    clock: Clock


async def build(settings: Settings, scope: Scope, *, clock: Clock = utc_now) -> Server:
    """Put the server together; what it opens is closed by ``scope``, newest first."""
    telemetry = await start_telemetry(settings, "users-service", scope)
    parts = await _parts(settings, scope, clock, telemetry)
    sessions = SessionService(
        parts.database,
        SessionReads(parts.database),
        clock,
        parts.reads.get,
        query=parts.query,
    )
    services = (
        (add_UserServiceServicer_to_server, _users(parts)),
        (add_SessionServiceServicer_to_server, _sessions(parts, sessions)),
        (add_AccountServiceServicer_to_server, _accounts(parts, sessions)),
        (add_VerificationServiceServicer_to_server, _verifications(parts)),
    )
    await scope.resources.enter_async_context(running(*_background(settings, parts)))
    server = build_server(
        settings,
        services,
        probe=parts.database.ping,
        fresh=partial(_ping_anew, settings),
        draining=scope.draining,
        observers=telemetry.observers,
        begin=telemetry.begin,
    )
    return telemetry.of_server(server)


async def _ping_anew(settings: Settings) -> None:
    """Ping over a connection of its own, as ``Database.ping`` does over the pool's."""
    async with Database(settings) as database:
        await database.ping()


async def _parts(settings: Settings, scope: Scope, clock: Clock, telemetry: Telemetry) -> Parts:
    database = Database(settings, telemetry.tracing)
    metrics.of_database(telemetry.registry, database)
    scope.resources.push_async_callback(database.close)
    await database.open()
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    passwords = Passwords.of(settings)
    scope.resources.callback(passwords.close)
    metrics.of_passwords(telemetry.registry, passwords)
    return Parts(
        database=database,
        query=await _query(settings, scope, database, telemetry),
        keyring=keyring,
        idempotency=Idempotency(database, keyring, clock),
        passwords=passwords,
        pages=by_time_and_id(PageTokens(keyring)),
        attempts=Attempts.of(database, keyring, settings),
        reads=UserReads(database),
        relay=await _relay(settings, scope, database, clock, telemetry),
        clock=clock,
    )


async def _query(settings: Settings, scope: Scope, database: Database, telemetry: Telemetry) -> Query:
    if not settings.replica_endpoints:
        return database.query
    reads = ReplicaReads(database, settings)
    metrics.of_replicas(telemetry.registry, reads)
    scope.resources.push_async_callback(reads.close)
    await scope.resources.enter_async_context(running(*reads.loops()))
    return reads.query


async def _relay(settings: Settings, scope: Scope, database: Database, clock: Clock, telemetry: Telemetry) -> Relay:
    handlers: dict[str, EntryHandler] = {}
    if settings.sends_notifications:
        metrics.of_outbox(telemetry.registry, database, clock)
        client = await scope.resources.enter_async_context(
            NotificationsClient(settings, settings.notifications_address, telemetry.interceptors)
        )
        handlers[DELETE_USER_NOTIFICATIONS] = lambda entry: client.delete_user_notifications(
            entry.payload["user_id"], entry.id
        )
    return Relay(database, handlers, clock, poll=timedelta(milliseconds=settings.outbox_poll_ms))


def _users(parts: Parts) -> UserServicer:
    return UserServicer(
        UserService(
            database=parts.database,
            query=parts.query,
            reads=parts.reads,
            idempotency=parts.idempotency,
            passwords=parts.passwords,
            clock=parts.clock,
            on_deleted=parts.relay.wake,
            store_password=credentials.store,
            void_proofs=verifications.void,
        ),
        parts.pages,
    )


def _sessions(parts: Parts, sessions: SessionService) -> SessionServicer:
    return SessionServicer(
        sessions,
        SessionCreation(parts.idempotency, parts.passwords, parts.attempts, parts.clock),
        PasswordSignIn(parts.database, parts.passwords, parts.attempts, parts.clock),
        parts.pages,
    )


def _accounts(parts: Parts, sessions: SessionService) -> AccountServicer:
    database, attempts, clock = parts.database, parts.attempts, parts.clock
    cipher = TokenCipher(parts.keyring)
    rotation = TokenRotation(database, cipher)
    return AccountServicer(
        AccountService(database, parts.query, parts.idempotency, cipher, rotation, clock, verifications.void),
        AccountSignIn(database, cipher, attempts, clock),
        Credentials(database, parts.passwords, attempts, sessions.validate, clock, void_proofs=verifications.void),
        parts.pages,
    )


def _verifications(parts: Parts) -> VerificationServicer:
    hasher = SecretHasher(parts.keyring)
    return VerificationServicer(
        VerificationService(parts.database, parts.idempotency, hasher, parts.attempts, parts.passwords, parts.clock)
    )


def _background(settings: Settings, parts: Parts) -> list[Coroutine[Any, Any, NoReturn]]:
    """Return the endless work beside the calls."""
    loops = []
    if settings.sends_notifications:
        loops.append(parts.relay.run())
    if settings.purge_interval_ms:
        loops.append(_purging(settings, parts))
    return loops


def _purging(settings: Settings, parts: Parts) -> Coroutine[Any, Any, NoReturn]:
    purge = Purge(parts.database, keep=timedelta(days=settings.purge_keep_days))

    async def once() -> None:
        try:
            await purge.run(parts.clock())
        except PurgeRunning:
            # Another process does this round.
            return

    return repeat("purge", once, lambda: asyncio.sleep(settings.purge_interval_ms / 1000))
