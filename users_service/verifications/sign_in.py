"""Sign-in with the secret of a verification, which may create its user.

It takes and returns messages of the contract, because the first answer is kept for repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.clock import Clock
from chassis.errors import ConflictRetry, RateLimited
from users_service.accounts.first_proof import EndedAccess, prove
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, address
from users_service.errors import EmailTaken, UserDisabled, UserNotFound
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.outbox.notices import Notices
from users_service.outbox.proved_addresses import ProvedAddresses
from users_service.sessions.familiarity import tell_of_new_client
from users_service.sessions.issuing import issue
from users_service.sessions.messages import client_details
from users_service.sessions.messages import fill as fill_session
from users_service.sessions.model import AuthenticationMethod
from users_service.users import repository as users
from users_service.users.messages import fill as fill_user
from users_service.users.model import User, new_user
from users_service.verifications import messages, repository
from users_service.verifications.attempt import Attempt
from users_service.verifications.consuming import Consumed, Consumer
from users_service.verifications.model import Purpose

# How often the transaction begins anew because somebody else has made the user meanwhile.
READINGS: Final = 4


@dataclass(frozen=True, slots=True)
class _Found:
    """Who signs in, and what became of it."""

    user: User
    created: bool = False
    ended: EndedAccess | None = None


@dataclass(frozen=True)
class VerificationSignIn:
    """Signs in with secrets of purpose SIGN_IN.

    ``on_left`` is called once something left in the outbox has committed.
    """

    idempotency: Idempotency
    consumer: Consumer
    attempts: Attempts
    notices: Notices
    proved_addresses: ProvedAddresses
    clock: Clock
    on_left: Callable[[], None]

    async def sign_in_with_verification(
        self, request: pb.SignInWithVerificationRequest
    ) -> pb.SignInWithVerificationResponse:
        """Consume a secret, create the user where the request says so, and issue a session, in one transaction.

        It proves the address; where that was not proved before, the ways in from before end. Raises
        VerificationInvalid, VerificationExpired, VerificationAttemptsExceeded, RequestIdReused, RequestInFlight, or,
        which consumes nothing, UserNotFound, UserDisabled, or RateLimited where the client made too many users.
        """
        # A repeat is not counted as an attempt.
        if answer := await self.idempotency.remembered(request, pb.SignInWithVerificationResponse):
            return answer
        attempt = Attempt(Purpose.SIGN_IN, messages.secret_of(request.secret), request.client.ip_address)
        await self.attempts.claim(attempt.subjects, self.clock())
        try:
            answer = await self._signed_in(request, attempt)
        except RateLimited:
            # Of new users: the secret was right, and so no guess.
            await self.attempts.take_back(self.attempts.counters(attempt.subjects))
            raise
        self.on_left()
        return answer

    async def _signed_in(
        self, request: pb.SignInWithVerificationRequest, attempt: Attempt
    ) -> pb.SignInWithVerificationResponse:
        """Sign in within one transaction, which begins anew where the user was created meanwhile."""
        for _ in range(READINGS):
            try:
                work = self.consumer.then(attempt, partial(self._sign_in, request))
                return await self.idempotency.run(request, pb.SignInWithVerificationResponse, work)
            except EmailTaken:
                continue
            except UserDisabled:
                # As above: whoever signs in once the user is enabled must not find the tries used up.
                await self.attempts.take_back(self.attempts.counters(attempt.subjects))
                raise
        raise ConflictRetry

    async def _sign_in(
        self,
        request: pb.SignInWithVerificationRequest,
        connection: AsyncConnection,
        consumed: Consumed,
        now: datetime,
    ) -> pb.SignInWithVerificationResponse:
        if consumed.user is not None:
            found = await self._welcome_back(connection, consumed.user, request, now)
        elif request.HasField("new_user"):
            found = await self._create(connection, consumed.verification.identifier, request, now)
        else:
            # An address is personal data, and stays out of an error's metadata.
            raise UserNotFound(None)
        await self.proved_addresses.proved(connection, found.user.id, found.user.email, now)
        return await _issue(connection, found, request, now)

    async def _welcome_back(
        self, connection: AsyncConnection, user: User, request: pb.SignInWithVerificationRequest, now: datetime
    ) -> _Found:
        user, ended = await prove(connection, user, now)
        if ended is not None:
            await repository.void(connection, user.id, user.email)
        if ended is not None and ended.password:
            await record(connection, UserEventKind.PASSWORD_CHANGED, user.id, user.revision, now)
        await tell_of_new_client(connection, self.notices, user.id, client_details(request.client), now)
        return _Found(user, ended=ended)

    async def _create(
        self, connection: AsyncConnection, email: str, request: pb.SignInWithVerificationRequest, now: datetime
    ) -> _Found:
        # Counted with the sign-ups, and only with the user: one limit holds, however users are created.
        counters = self.attempts.counters([address(actions.SIGN_UP, request.client.ip_address)])
        await self.attempts.count(connection, counters, now)
        wanted = request.new_user
        user = new_user(email, now, email_verified=True, name=wanted.name, image=wanted.image)
        await users.insert_user(connection, user)
        await record(connection, UserEventKind.CREATED, user.id, user.revision, now)
        await self.notices.welcome(connection, user.id, now)
        return _Found(user, created=True)


async def _issue(
    connection: AsyncConnection, found: _Found, request: pb.SignInWithVerificationRequest, now: datetime
) -> pb.SignInWithVerificationResponse:
    session, token = await issue(
        connection,
        found.user.id,
        client_details(request.client),
        now,
        method=AuthenticationMethod.VERIFICATION,
        do_not_remember=request.do_not_remember,
    )
    response = pb.SignInWithVerificationResponse(session_token=token, user_created=found.created)
    fill_user(response.user, found.user)
    fill_session(response.session, session, now)
    if found.ended is not None:
        messages.fill_ended(response.ended_access, found.ended)
    return response
