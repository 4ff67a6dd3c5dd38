"""Sign-in with a password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.errors import ConflictRetry
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, account, address
from users_service.attempts.repository import Counter
from users_service.credentials import repository as credentials
from users_service.credentials.model import Credential
from users_service.credentials.replacing import replace
from users_service.errors import NOT_HASHED, CredentialsInvalid
from users_service.mysql.database import Database
from users_service.passwords.hasher import Passwords
from users_service.sessions import repository
from users_service.sessions.issuing import new_session
from users_service.sessions.model import ClientDetails, Session
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.model import User

# How often a sign-in verifies anew because the hash changed between verification and transaction.
ROUNDS = 3

# The user with the address, and the hash to verify; None: no user has it.
Holder = tuple[User, Credential] | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The outcome of a sign-in: the user, the new session, and its token."""

    user: User
    session: Session
    token: str = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class _Verified:
    """A sign-in whose password was right."""

    user: User
    credential: Credential
    # The new hash in place of an outdated one.
    replacement: str | None = field(repr=False)
    counters: Sequence[Counter]
    client: ClientDetails
    do_not_remember: bool
    now: datetime


class PasswordSignIn:
    """Sign-in by email and password, within the limits on attempts."""

    def __init__(self, database: Database, passwords: Passwords, attempts: Attempts, clock: Clock) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    async def sign_in(self, email: str, password: str, client: ClientDetails, *, do_not_remember: bool) -> SignedIn:
        """Check email and password and issue a session.

        Raises CredentialsInvalid, after the same time for an unknown email and for a wrong password; RateLimited,
        whether or not the password is right; PasswordHashingBusy, PasswordHashingUnavailable.
        """
        now, normalized = self._clock(), normalize(email)
        counters = self._attempts.counters(
            (account(actions.SIGN_IN, normalized), address(actions.SIGN_IN, client.ip_address))
        )
        # An attempt that cannot be made must not count, nor take a connection while the service is busiest.
        self._passwords.ensure_room()
        found = await self._database.transaction(partial(self._begin, normalized, counters, now))
        for _ in range(ROUNDS):
            async with self._attempts.making(counters):
                user, credential, replacement = await self._verify(found, password)
            verified = _Verified(user, credential, replacement, counters, client, do_not_remember, now)
            done = await self._database.transaction(partial(self._finish, verified))
            if done is not None:
                return done
            found = await self._database.query(partial(_read, normalized))
        raise ConflictRetry

    async def _begin(
        self, normalized: str, counters: Sequence[Counter], now: datetime, connection: AsyncConnection
    ) -> Holder:
        """Count the attempt, and read the user and the hash; in one transaction, to save round trips."""
        await self._attempts.count(connection, counters, now)
        return await _read(normalized, connection)

    async def _verify(self, found: Holder, password: str) -> tuple[User, Credential, str | None]:
        """Return the user and the credential, and a new hash where the stored one is outdated."""
        user, credential = found or (None, None)
        stored, owner = (credential.password_hash, credential.user_id) if credential else (None, "")
        verdict = await self._passwords.verify(stored, password, owner)
        if user is None or credential is None or not verdict.ok:
            raise CredentialsInvalid
        return user, credential, await self._upgraded(password) if verdict.needs_upgrade else None

    async def _upgraded(self, password: str) -> str | None:
        try:
            return await self._passwords.hash(password)
        except NOT_HASHED:
            # The next sign-in upgrades it.
            return None

    async def _finish(self, verified: _Verified, connection: AsyncConnection) -> SignedIn | None:
        """Issue the session; None where another sign-in upgraded the hash, or the password was changed."""
        now = verified.now
        session, token = new_session(verified.user.id, verified.client, verified.do_not_remember, now)
        if not await _store(connection, session, verified):
            return None
        await self._attempts.settle(connection, verified.counters)
        return SignedIn(verified.user, session, token, now)


async def _read(normalized: str, connection: AsyncConnection) -> Holder:
    return await credentials.read_by_email(connection, normalized)


async def _store(connection: AsyncConnection, session: Session, verified: _Verified) -> bool:
    """Store the session if the verified hash is still the stored one, which then stays so until the commit."""
    credential, stored = verified.credential, verified.credential.password_hash
    if stored is None:
        return False
    if not (credential.legacy or verified.replacement):
        return await repository.insert_guarded(connection, session, stored)
    # The user's row is locked first, in the order of password changes.
    if await users.read_user(connection, credential.user_id, lock=True) is None:
        return False
    if not await replace(connection, credential, verified.replacement or stored, verified.now):
        return False
    await repository.insert_session(connection, session)
    return True
