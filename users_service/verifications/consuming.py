"""Consuming a verification inside a transaction: the one place where a secret is compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.errors import ServiceError
from users_service.attempts.limiter import Attempts
from users_service.errors import VerificationAttemptsExceeded, VerificationExpired, VerificationInvalid
from users_service.mysql.database import Work
from users_service.users import repository as users
from users_service.users.model import User
from users_service.verifications import repository
from users_service.verifications.attempt import Attempt
from users_service.verifications.model import MAX_ATTEMPTS, Verification
from users_service.verifications.secrets import Code, SecretHasher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consumed:
    """A verification that was just consumed, and its user, locked until the transaction ends.

    The user is the one whom it was made for, else the one with its address.
    """

    verification: Verification
    user: User | None


# What a secret is for; the transaction that consumes it carries it out.
Act = Callable[[AsyncConnection, Consumed, datetime], Awaitable[T]]


@dataclass(frozen=True)
class Consumer:
    """Makes transactions of attempts: what a secret is for happens in the one that consumes it."""

    hasher: SecretHasher
    attempts: Attempts
    clock: Clock

    def then(self, attempt: Attempt, act: Act[T]) -> Work[T | ServiceError]:
        """Return work that consumes the secret and carries out ``act``, or returns why the secret is refused.

        A refusal is returned and not raised, because the count of the wrong attempt must be committed first. What
        ``act`` raises consumes nothing.
        """

        async def work(connection: AsyncConnection) -> T | ServiceError:
            now = self.clock()
            consumed = await consume(connection, self.hasher, attempt, now)
            if isinstance(consumed, ServiceError):
                return consumed
            await self.attempts.clear(connection, attempt.subjects)
            return await act(connection, consumed, now)

        return work


async def consume(
    connection: AsyncConnection, hasher: SecretHasher, attempt: Attempt, now: datetime
) -> Consumed | ServiceError:
    """Consume the verification of a secret, or return why it is refused."""
    secret = attempt.secret
    if isinstance(secret, Code):
        which, identifier = repository.of_code(attempt.purpose, secret.identifier, attempt.user_id), secret.identifier
        entered = secret.code
    else:
        which, entered = repository.of_token(attempt.purpose, secret.id, attempt.user_id), secret.secret
        found = await repository.find(connection, which)
        if found is None:
            return VerificationInvalid()
        identifier = found.identifier
    candidates = hasher.candidates(attempt.purpose, identifier, attempt.kind, entered, attempt.user_id)
    # Locked first: changes of the user end its verifications under this lock.
    user = await _lock_user(connection, attempt.user_id, identifier)
    attempted = await _attempt(connection, which, candidates, now)
    return attempted if isinstance(attempted, ServiceError) else Consumed(attempted, user)


async def _lock_user(connection: AsyncConnection, user_id: str, identifier: str) -> User | None:
    if user_id:
        return await users.read_user(connection, user_id, lock=True)
    return await users.lock_by_email(connection, identifier)


async def _attempt(
    connection: AsyncConnection, which: ColumnElement[bool], candidates: list[str], now: datetime
) -> Verification | ServiceError:
    living = await repository.attempt(connection, which, candidates, now)
    found = await repository.find(connection, which)
    if found is None:
        return VerificationInvalid()
    if living:
        # It was not consumed before the statement, and the row has been locked since.
        return VerificationInvalid() if found.consumed_at is None else found
    return _refusal(found, right=found.value in candidates)


def _refusal(found: Verification, *, right: bool) -> ServiceError:
    if found.consumed_at is not None:
        return VerificationInvalid()
    if found.attempts >= MAX_ATTEMPTS:
        return VerificationAttemptsExceeded()
    # Only a caller who knows the secret learns that it has expired.
    return VerificationExpired() if right else VerificationInvalid()
