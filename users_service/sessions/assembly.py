"""Puts SessionService together; for the composition root."""

from __future__ import annotations

from vibework.users.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server

from chassis.serving.registration import Registration
from users_service.attempts.limiter import Attempts
from users_service.parts import Parts
from users_service.sessions.admission import Admission
from users_service.sessions.creation import SessionCreation
from users_service.sessions.password_sign_in import PasswordSignIn
from users_service.sessions.reads import SessionReads
from users_service.sessions.refreshing import SessionRefresh
from users_service.sessions.service import SessionService
from users_service.sessions.servicer import SessionServicer
from users_service.users.reads import UserReads


def new_admission(parts: Parts) -> Admission:
    """Return what decides whether a token opens its session, for this feature and others."""
    return Admission(parts.database, SessionReads(parts.database, parts.database_clock))


def new_service(parts: Parts, admission: Admission, reads: UserReads) -> SessionService:
    """Return the service, which accounts ask, too."""
    return SessionService(parts.database, admission, parts.clock, reads.get, query=parts.query, stopping=parts.stopping)


def assemble(parts: Parts, sessions: SessionService, admission: Admission, attempts: Attempts) -> Registration:
    """Return SessionService with its registration."""
    creation = SessionCreation(parts.idempotency, parts.passwords, attempts, parts.notices, parts.clock)
    sign_in = PasswordSignIn(
        parts.database, parts.idempotency, parts.passwords, attempts, parts.clock, notices=parts.notices
    )
    refresh = SessionRefresh(admission, parts.idempotency, parts.clock, parts.database_clock)
    return add_SessionServiceServicer_to_server, SessionServicer(sessions, creation, refresh, sign_in, parts.pages)
