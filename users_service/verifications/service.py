"""The rules of verifications: how a secret is created, and what happens when it is consumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.clock import Clock
from chassis.contract.ids import new_id
from chassis.errors import ServiceError
from users_service.accounts import password_changes
from users_service.accounts.first_proof import EndedAccess, prove
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, Subject, account, address
from users_service.errors import UserNotFound
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.outbox.notices import Notices
from users_service.outbox.proved_addresses import ProvedAddresses
from users_service.passwords.hasher import Passwords
from users_service.users import repository as users
from users_service.users.email import folded, normalize
from users_service.users.model import User, UserChanges
from users_service.verifications import messages, repository, secrets
from users_service.verifications.attempt import Attempt
from users_service.verifications.consuming import Act, Consumed, Consumer
from users_service.verifications.model import Purpose, SecretKind, Verification, lifetime
from users_service.verifications.sending import SecretMails

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """The outcome of a reset. ``ended``: what ended because the address was not proved before; None where it was."""

    user_id: str
    revoked_sessions: int
    ended: EndedAccess | None


@dataclass(frozen=True)
class VerificationService:
    """Creates and consumes verifications; ``on_left`` is called once something left in the outbox has committed."""

    database: Database
    idempotency: Idempotency
    consumer: Consumer
    attempts: Attempts
    passwords: Passwords
    notices: Notices
    proved_addresses: ProvedAddresses
    mails: SecretMails
    clock: Clock
    on_left: Callable[[], None]

    async def create_verification(self, request: pb.CreateVerificationRequest) -> pb.CreateVerificationResponse:
        """Create a verification, and replace an older one, whether or not a user has the address.

        With `send_code` the secret is left to be sent in the same transaction, and is not in the answer. Raises
        RateLimited, RequestIdReused, RequestInFlight, VerificationDeliveryNotConfigured, or UserNotFound where it is
        to be for a user who is not there.
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
            user_id = await _lock(connection, request.user_id, identifier)
            verification, secret = self._new(purpose, identifier, kind, user_id)
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

    def _new(self, purpose: Purpose, identifier: str, kind: SecretKind, user_id: str) -> tuple[Verification, str]:
        """Make a verification, and the text of its secret for the end user."""
        secret, now, id_ = secrets.generate(kind), self.clock(), new_id("vrf")
        verification = Verification(
            id=id_,
            identifier=identifier,
            value=self.consumer.hasher.hash(purpose, identifier, kind, secret, user_id),
            purpose=purpose,
            kind=kind,
            attempts=0,
            consumed_at=None,
            expires_at=now + lifetime(purpose, kind),
            created_at=now,
            user_id=user_id,
        )
        return verification, secrets.shown(id_, kind, secret)

    async def consume_verification(self, attempt: Attempt) -> Verification:
        """Check a secret that was made for no particular user and consume it.

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
            user = known(consumed.user)
            await self.proved_addresses.proved(connection, user.id, user.email, now)
            return await _mark_verified(connection, user, now)

        user = await self._consume_and(attempt, mark)
        self.on_left()
        return user

    async def reset_password(self, attempt: Attempt, password: str) -> PasswordReset:
        """Consume a secret, set the password, end all sessions and void all other secrets, in one transaction.

        It proves the address; where that was not proved before, the ways in from before end. Raises as
        ``consume_verification``, or UserNotFound, PasswordCompromised or PasswordHashingBusy, which consume nothing.
        """
        self.passwords.check_choice(password, "new_password")
        self.passwords.ensure_room()
        await self.attempts.claim(attempt.subjects, self.clock())
        # Before the transaction, whose locks must not be held while a hash waits for a core.
        async with self.attempts.making(self.attempts.counters(attempt.subjects)):
            hashed = await self.passwords.hash(password)

        async def reset(connection: AsyncConnection, consumed: Consumed, now: datetime) -> PasswordReset:
            user, ended = await prove(connection, known(consumed.user), now, replacing_password=True)
            revoked = await password_changes.reset(connection, user, hashed, now)
            await repository.void(connection, user.id, user.email)
            await self.notices.password_changed(connection, user.id, now)
            await self.proved_addresses.proved(connection, user.id, user.email, now)
            # Guesses at the password of before lock nobody out of the new one.
            await self.attempts.clear(connection, password_changes.guesses(consumed.verification.identifier))
            return PasswordReset(user.id, revoked + (ended.session_count if ended else 0), ended)

        result = await self._consume_and(attempt, reset)
        self.on_left()
        return result

    async def change_email(self, attempt: Attempt) -> User:
        """Consume a secret, and give its user the address that it was made for, verified, in one transaction.

        What is outstanding for the user and for the address before ends, and its owner is told. Raises as
        ``consume_verification``, or UserNotFound or EmailTaken, which consume nothing.
        """
        await self.attempts.claim(attempt.subjects, self.clock())

        async def change(connection: AsyncConnection, consumed: Consumed, now: datetime) -> User:
            before, email = known(consumed.user), consumed.verification.identifier
            if folded(before.email) == email:
                # In whatever spelling it is kept, it is no other address.
                await self.proved_addresses.proved(connection, before.id, before.email, now)
                return await _mark_verified(connection, before, now)
            changes = UserChanges(email=email, email_verified=True)
            await users.change_user(connection, before.id, changes, now, revision=None)
            await repository.void(connection, before.id, before.email, email)
            await self.notices.email_changed(connection, before.email, now)
            await self.proved_addresses.proved(connection, before.id, email, now)
            user = known(await users.read_user(connection, before.id))
            await record(connection, UserEventKind.CHANGED, user.id, user.revision, now)
            return user

        user = await self._consume_and(attempt, change)
        self.on_left()
        return user

    async def _consume_and(self, attempt: Attempt, act: Act[T]) -> T:
        result = await self.database.transaction(self.consumer.then(attempt, act))
        if isinstance(result, ServiceError):
            # Raised only after the commit, which counts the wrong attempt.
            raise result
        return result


def _creating(purpose: Purpose, identifier: str, ip_address: str) -> Sequence[Subject]:
    action = actions.create_verification(purpose)
    return account(action, identifier), address(action, ip_address)


async def _lock(connection: AsyncConnection, user_id: str, identifier: str) -> str:
    """Lock the user whom a verification is to be for, else the one with its address; return the id of the former.

    The lock puts it before or after a concurrent change of the user, which ends it if it comes first. Raises
    UserNotFound.
    """
    if not user_id:
        await users.lock_by_email(connection, identifier)
        return ""
    user = await users.read_user(connection, user_id, lock=True)
    if user is None:
        raise UserNotFound(user_id)
    return user.id


async def _mark_verified(connection: AsyncConnection, user: User, now: datetime) -> User:
    """Mark the address of a user, whose row is locked, verified; return the user as it is now."""
    if user.email_verified:
        return user
    await users.mark_verified(connection, user.id, now)
    marked = known(await users.read_user(connection, user.id))
    await record(connection, UserEventKind.CHANGED, user.id, marked.revision, now)
    return marked


def known(user: User | None) -> User:
    """Return the user. Raises UserNotFound where nobody has the address that was proved."""
    if user is None:
        # The request named an address, which is personal data and stays out of an error's metadata.
        raise UserNotFound(None)
    return user
