"""Creation of sessions by idempotent requests: with a new user (sign-up), or for a user whom the caller vouches for.

This service takes and returns messages of the contract, because the first answer is kept for repeats.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import session_service_pb2 as pb

from chassis.clock import Clock
from chassis.errors import ConflictRetry
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, address
from users_service.credentials import repository as credentials
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.outbox.notices import Notices
from users_service.passwords.hasher import Passwords
from users_service.sessions import repository
from users_service.sessions.issuing import issue, new_session
from users_service.sessions.messages import client_details, fill
from users_service.sessions.model import AuthenticationMethod
from users_service.users import repository as users
from users_service.users.messages import fill as fill_user
from users_service.users.model import new_user


class SessionCreation:
    """Carries out SignUp and CreateSession."""

    def __init__(
        self, idempotency: Idempotency, passwords: Passwords, attempts: Attempts, notices: Notices, clock: Clock
    ) -> None:
        self._idempotency = idempotency
        self._notices = notices
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    async def sign_up(self, request: pb.SignUpRequest) -> pb.SignUpResponse:
        """Create a user with a password account and a session, in one transaction.

        Raises EmailTaken, PasswordCompromised, RateLimited, PasswordHashingBusy, RequestIdReused and RequestInFlight.
        """
        # A repeat is not counted as an attempt, and nothing is hashed for it.
        answer = await self._idempotency.remembered(request, pb.SignUpResponse)
        if answer is not None:
            return answer
        self._passwords.check_choice(request.password, "password")
        now, client = self._clock(), client_details(request.client)
        self._passwords.ensure_room()
        subjects = [address(actions.SIGN_UP, client.ip_address)]
        await self._attempts.claim(subjects, now)
        user = new_user(request.email, now, name=request.name, image=request.image)
        async with self._attempts.making(self._attempts.counters(subjects)):
            password_hash = await self._passwords.hash(request.password)

        async def work(connection: AsyncConnection) -> pb.SignUpResponse:
            await users.insert_user(connection, user)
            await record(connection, UserEventKind.CREATED, user.id, user.revision, now)
            await credentials.store(connection, user.id, password_hash, now)
            await self._notices.welcome(connection, user.id, now)
            session, token = new_session(
                user.id,
                client,
                now,
                method=AuthenticationMethod.PASSWORD,
                do_not_remember=request.do_not_remember,
            )
            if not await repository.insert_session(connection, session):
                # No state but active was ever stored of this user.
                raise ConflictRetry
            response = pb.SignUpResponse(session_token=token)
            fill_user(response.user, user)
            fill(response.session, session, now)
            return response

        return await self._idempotency.run(request, pb.SignUpResponse, work)

    async def create(self, request: pb.CreateSessionRequest) -> pb.CreateSessionResponse:
        """Create a session for a user. Raises UserNotFound, UserDisabled, RequestIdReused and RequestInFlight."""
        now, client = self._clock(), client_details(request.client)

        async def work(connection: AsyncConnection) -> pb.CreateSessionResponse:
            session, token = await issue(
                connection,
                request.user_id,
                client,
                now,
                method=AuthenticationMethod.CALLER,
                do_not_remember=request.do_not_remember,
            )
            response = pb.CreateSessionResponse(session_token=token)
            fill(response.session, session, now)
            return response

        return await self._idempotency.run(request, pb.CreateSessionResponse, work)
