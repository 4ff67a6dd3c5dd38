"""The rules of verifications: how a secret is created, and what happens when it is consumed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.clock import Clock
from chassis.contract.ids import new_id
from chassis.errors import ServiceError
from users_service.accounts import password_changes
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, Subject, account, address
from users_service.errors import UserNotFound
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.outbox.notices import Notices
from users_service.passwords.hasher import Passwords
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.model import User
from users_service.verifications import messages, repository, secrets
from users_service.verifications.consuming import Consumed, consume
from users_service.verifications.model import Purpose, SecretKind, Verification, lifetime
from users_service.verifications.secrets import Code, SecretHasher, Token
from users_service.verifications.sending import SecretMails

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A secret that the end user entered, and the client's address."""

    purpose: Purpose
    secret: Code | Token
    ip_address: str

    @property
    def subjects(self) -> Sequence[Subject]:
        """The subjects of the rate limit. Tokens, which cannot be guessed, count for the client's address only."""
        identifier = self.secret.identifier if isinstance(self.secret, Code) else ""
        action = actions.consume_verification(self.purpose)
        return account(action, identifier), address(action, self.ip_address)


@dataclass(frozen=True)
class VerificationService:
    """Creates and consumes verifications; ``on_left`` is called after each mail left in the outbox has committed."""

    database: Database
    idempotency: Idempotency
    hasher: SecretHasher
    attempts: Attempts
    passwords: Passwords
    notices: Notices
    mails: SecretMails
    clock: Clock
    on_left: Callable[[], None]

    async def create_verification(self, request: pb.CreateVerificationRequest) -> pb.CreateVerificationResponse:
        """Create a verification, and replace an older one, whether or not a user has the address.

        With `send_code` the secret is left to be sent in the same transaction, and is not in the answer. Raises
        RateLimited, RequestIdReused, RequestInFlight or VerificationDeliveryNotConfigured.
        """
        sends = request.delivery == pb.VERIFICATION_DELIVERY_SEND_CODE
        purpose, kind = messages.purpose_of(request.purpose), messages.kind_of(request.kind)
        if sends:
            self.mails.require(purpose, kind)
        # A repeat is not counted.
        if answer := await self.idempotency.remembered(request, pb.CreateVerificationResponse):
            return answer
        identifier = normalize(request.identifier, "identifier")
        await self.attempts.claim(_creating(purpose, identifier, request.client.ip_address), self.clock())

        async def work(connection: AsyncConnection) -> pb.CreateVerificationResponse:
            # The lock puts it before or after a concurrent change of the user, which ends it if it comes first.
            await users.lock_by_email(connection, identifier)
            verification, secret = self._new(purpose, identifier, kind)
            await repository.put(connection, verification)
            if sends:
                await self.mails.leave(connection, verification, secret, request.locale)
            response = pb.CreateVerificationResponse(secret="" if sends else secret)
            messages.fill(response.verification, verification)
            return response

        response = await self.idempotency.run(request, pb.CreateVerificationResponse, work)
        if sends:
            self.on_left()
        return response

    def _new(self, purpose: Purpose, identifier: str, kind: SecretKind) -> tuple[Verification, str]:
        """Make a verification, and the text of its secret for the end user."""
        secret, now, id_ = secrets.generate(kind), self.clock(), new_id("vrf")
        verification = Verification(
            id=id_,
            identifier=identifier,
            value=self.hasher.hash(purpose, identifier, kind, secret),
            purpose=purpose,
            kind=kind,
            attempts=0,
            consumed_at=None,
            expires_at=now + lifetime(purpose, kind),
            created_at=now,
        )
        return verification, secrets.shown(id_, kind, secret)

    async def consume_verification(self, attempt: Attempt) -> Verification:
        """Check a secret and consume it.

        Raises VerificationInvalid, VerificationExpired, VerificationAttemptsExceeded, or RateLimited.
        """
        await self.attempts.claim(attempt.subjects, self.clock())

        async def nothing_more(_: AsyncConnection, consumed: Consumed, __: datetime) -> Verification:
            return consumed.verification

        return await self._consume_and(attempt, nothing_more)

    async def verify_email(self, attempt: Attempt) -> User:
        """Consume a secret and mark the address of its user verified, in one transaction.

        Raises as ``consume_verification``, or UserNotFound, which consumes nothing.
        """
        await self.attempts.claim(attempt.subjects, self.clock())

        async def mark(connection: AsyncConnection, consumed: Consumed, now: datetime) -> User:
            user = _known(consumed.user)
            if user.email_verified:
                return user
            await users.mark_verified(connection, user.id, now)
            return _known(await users.read_user(connection, user.id))

        return await self._consume_and(attempt, mark)

    async def reset_password(self, attempt: Attempt, password: str) -> tuple[str, int]:
        """Consume a secret, set the password, end all sessions and void all other secrets, in one transaction.

        Returns the user's id and how many sessions ended. Raises as ``consume_verification``, or UserNotFound,
        PasswordCompromised or PasswordHashingBusy, which consume nothing.
        """
        self.passwords.check_choice(password, "new_password")
        self.passwords.ensure_room()
        await self.attempts.claim(attempt.subjects, self.clock())
        # Before the transaction, whose locks must not be held while a hash waits for a core.
        async with self.attempts.making(self.attempts.counters(attempt.subjects)):
            hashed = await self.passwords.hash(password)

        async def reset(connection: AsyncConnection, consumed: Consumed, now: datetime) -> tuple[str, int]:
            user = _known(consumed.user)
            ended = await password_changes.reset(connection, user, hashed, now)
            await repository.void(connection, user.email)
            await self.notices.password_changed(connection, user.id, now)
            # Guesses at the password of before lock nobody out of the new one.
            await self.attempts.clear(connection, password_changes.guesses(consumed.verification.identifier))
            return user.id, ended

        return await self._consume_and(attempt, reset)

    async def _consume_and(
        self, attempt: Attempt, then: Callable[[AsyncConnection, Consumed, datetime], Awaitable[T]]
    ) -> T:
        async def work(connection: AsyncConnection) -> T | ServiceError:
            now = self.clock()
            consumed = await consume(connection, self.hasher, attempt.purpose, attempt.secret, now)
            if isinstance(consumed, ServiceError):
                return consumed
            await self.attempts.clear(connection, attempt.subjects)
            return await then(connection, consumed, now)

        result = await self.database.transaction(work)
        if isinstance(result, ServiceError):
            # Raised only after the commit, which counts the wrong attempt.
            raise result
        return result


def _creating(purpose: Purpose, identifier: str, ip_address: str) -> Sequence[Subject]:
    action = actions.create_verification(purpose)
    return account(action, identifier), address(action, ip_address)


def _known(user: User | None) -> User:
    if user is None:
        # The request named an address, which is personal data and stays out of an error's metadata.
        raise UserNotFound(None)
    return user
