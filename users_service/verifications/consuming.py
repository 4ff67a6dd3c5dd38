"""Consuming a verification inside a transaction: the one place where a secret is compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.errors import ServiceError
from users_service.errors import VerificationAttemptsExceeded, VerificationExpired, VerificationInvalid
from users_service.users import repository as users
from users_service.users.model import User
from users_service.verifications import repository
from users_service.verifications.model import MAX_ATTEMPTS, Purpose, SecretKind, Verification
from users_service.verifications.secrets import Code, SecretHasher, Token


@dataclass(frozen=True, slots=True)
class Consumed:
    """A verification that was just consumed, and the user with its address, locked until the transaction ends."""

    verification: Verification
    user: User | None


async def consume(
    connection: AsyncConnection, hasher: SecretHasher, purpose: Purpose, secret: Code | Token, now: datetime
) -> Consumed | ServiceError:
    """Consume the verification of a secret, or return the error.

    The error is returned and not raised, because the caller must first commit the count of the wrong attempt.
    """
    if isinstance(secret, Code):
        which, identifier = repository.of_code(purpose, secret.identifier), secret.identifier
        candidates = hasher.candidates(purpose, identifier, SecretKind.CODE, secret.code)
    else:
        which = repository.of_token(purpose, secret.id)
        found = await repository.find(connection, which)
        if found is None:
            return VerificationInvalid()
        identifier = found.identifier
        candidates = hasher.candidates(purpose, identifier, SecretKind.TOKEN, secret.secret)
    # Locked first: changes of the user end its verifications under this lock.
    user = await users.lock_by_email(connection, identifier)
    attempted = await _attempt(connection, which, candidates, now)
    return attempted if isinstance(attempted, ServiceError) else Consumed(attempted, user)


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
