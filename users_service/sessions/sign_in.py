"""Signs users in with a password."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.errors import ConflictRetry
from users_service.attempts.limiter import Attempts, Subject, account, address
from users_service.clock import Clock
from users_service.database import Database
from users_service.errors import CredentialsInvalid, PasswordHashingBusy
from users_service.passwords import repository as credentials
from users_service.passwords.hasher import Passwords
from users_service.passwords.repository import Credential
from users_service.sessions.issuing import issue
from users_service.sessions.model import ClientDetails, Session
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.model import User

# The action whose attempts are counted; a change of password counts as one too.
ACTION = "sign_in"

# How often a sign-in verifies anew because the hash changed between verification and transaction.
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in, the new session, and its token."""

    user: User
    session: Session
    token: str = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class _Verified:
    """What is known once the password was right."""

    credential: Credential
    # To take the place of an outdated hash.
    replacement: str | None = field(repr=False)
    subjects: tuple[Subject, ...]
    client: ClientDetails
    do_not_remember: bool
    now: datetime


class SignIn:
    """Sign-in by email and password, within the limits on attempts."""

    def __init__(self, database: Database, passwords: Passwords, attempts: Attempts, clock: Clock) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    async def sign_in(self, email: str, password: str, client: ClientDetails, *, do_not_remember: bool) -> SignedIn:
        """Check email and password and issue a session.

        Raises CredentialsInvalid, after the same time for an unknown email and for a wrong password; RateLimited,
        whether or not the password is right; PasswordHashingBusy.
        """
        now, normalized = self._clock(), normalize(email)
        subjects = (account(ACTION, normalized), address(ACTION, client.ip_address))
        # Before the attempt is counted: one that cannot be made should not count.
        self._passwords.ensure_room()
        await self._attempts.claim(subjects, now)
        for _ in range(ROUNDS):
            credential, replacement = await self._verify(normalized, password)
            verified = _Verified(credential, replacement, subjects, client, do_not_remember, now)
            done = await self._database.transaction(partial(self._finish, verified))
            if done is not None:
                return done
        raise ConflictRetry

    async def _verify(self, normalized: str, password: str) -> tuple[Credential, str | None]:
        """Return the credential that the password is right for, and the hash to replace an outdated one."""
        async with self._database.connection() as connection:
            credential = await credentials.read_by_email(connection, normalized)
        verdict = await self._passwords.verify(credential.password_hash if credential else None, password)
        if credential is None or not verdict.ok:
            raise CredentialsInvalid
        return credential, await self._upgraded(password) if verdict.needs_upgrade else None

    async def _upgraded(self, password: str) -> str | None:
        try:
            return await self._passwords.hash(password)
        except PasswordHashingBusy:
            # The next sign-in upgrades it.
            return None

    async def _finish(self, verified: _Verified, connection: AsyncConnection) -> SignedIn | None:
        """Issue the session; None when the hash has changed: upgraded by another sign-in, or a new password."""
        credential, now = verified.credential, verified.now
        if not await credentials.hold(connection, credential, verified.replacement, now):
            return None
        user = await users.get_user(connection, credential.user_id)
        if user is None:
            return None
        session, token = await issue(connection, user.id, verified.client, verified.do_not_remember, now)
        await self._attempts.clear(connection, verified.subjects)
        return SignedIn(user, session, token, now)
