"""The password as a way to sign in: setting the first one, changing it, replacing a forgotten one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.errors import ConflictRetry
from users_service.accounts import repository
from users_service.accounts.model import Account, PasswordChange
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, Subject, account, address
from users_service.credentials import repository as credentials
from users_service.credentials.model import CREDENTIAL, Credential
from users_service.credentials.replacing import replace
from users_service.errors import CredentialsInvalid, PasswordAlreadySet, PasswordNotSet, UserNotFound
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.mysql.database import Database
from users_service.outbox.notices import Notices
from users_service.passwords.hasher import Passwords
from users_service.sessions import repository as sessions
from users_service.sessions.model import PASSWORD_CHANGED, PASSWORD_RESET, Session
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.model import User
from users_service.users.proofs import VoidProofs

# Returns the live session of a token and a user, and the time; raises SessionInvalid.
ValidateSession = Callable[[str, str], Awaitable[tuple[Session, datetime]]]

# How often a change verifies again because the hash changed meanwhile: a sign-in upgrades it.
ROUNDS: Final = 3


class Credentials:
    """Sets and changes passwords."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        attempts: Attempts,
        validate_session: ValidateSession,
        clock: Clock,
        *,
        void_proofs: VoidProofs,
        notices: Notices,
    ) -> None:
        """``validate_session``: returns the session of a token; ``void_proofs``: ends verifications of an address."""
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._validate_session = validate_session
        self._clock = clock
        self._void_proofs = void_proofs
        self._notices = notices

    async def set_password(self, user_id: str, password: str, imported_hash: str) -> Account:
        """Give a user the first password, in plain text or as a hash made elsewhere; void outstanding verifications.

        Raises UserNotFound, PasswordAlreadySet, PasswordCompromised, PasswordHashUnsupported, or PasswordHashingBusy.
        """
        if not imported_hash:
            self._passwords.check_choice(password, "password")
        # Before the hash, which is expensive.
        await self._database.query(lambda connection: _check_none(connection, user_id, lock=False))
        if imported_hash:
            await self._passwords.check_importable(imported_hash)
        hashed = imported_hash or await self._passwords.hash(password)

        async def work(connection: AsyncConnection) -> Account:
            user = await _check_none(connection, user_id, lock=True)
            now = self._clock()
            await credentials.put(connection, user.id, hashed, now)
            await record(connection, UserEventKind.PASSWORD_CHANGED, user.id, user.revision, now)
            await self._void_proofs(connection, user.id, user.email)
            await self._notices.password_changed(connection, user.id, now)
            credential = await repository.get_by_provider(connection, CREDENTIAL, user.id)
            if credential is None:
                raise ConflictRetry
            return credential

        return await self._database.transaction(work)

    async def change_password(self, change: PasswordChange) -> int:
        """Replace the password of a user who knows it; return how many sessions ended.

        Outstanding verifications of the user's address are void. Raises UserNotFound, SessionInvalid,
        PasswordNotSet, PasswordCompromised, CredentialsInvalid, RateLimited, PasswordHashingBusy.
        """
        self._passwords.check_choice(change.new, "new_password")
        user, _ = await self._read(change.user_id)
        kept = await self._session_to_keep(change)
        self._passwords.ensure_room()
        attempts = _attempts(user, change.ip_address)
        await self._attempts.claim(attempts, self._clock())
        for _round in range(ROUNDS):
            async with self._attempts.making(self._attempts.counters(attempts)):
                revoked = await self._verify_and_change(change, kept)
            if revoked is not None:
                return revoked
        raise ConflictRetry

    async def _verify_and_change(self, change: PasswordChange, kept: str | None) -> int | None:
        """Return how many sessions ended, or None where the hash changed meanwhile and must be verified again."""
        _, verified = await self._read(change.user_id)
        verdict = await self._passwords.verify(verified.password_hash, change.current, verified.user_id)
        if not verdict.ok:
            raise CredentialsInvalid
        hashed = await self._passwords.hash(change.new)

        async def work(connection: AsyncConnection) -> int | None:
            now = self._clock()
            user = await users.read_user(connection, verified.user_id, lock=True)
            if user is None:
                raise UserNotFound(change.user_id)
            if not await replace(connection, verified, hashed, now):
                return None
            await record(connection, UserEventKind.PASSWORD_CHANGED, user.id, user.revision, now)
            await self._void_proofs(connection, user.id, user.email)
            await self._notices.password_changed(connection, user.id, now)
            made = {*_attempts(user, change.ip_address), *guesses(normalize(user.email))}
            await self._attempts.clear(connection, tuple(made))
            return await sessions.revoke_all(connection, user.id, now, PASSWORD_CHANGED, except_session_id=kept)

        return await self._database.transaction(work)

    async def _read(self, user_id: str) -> tuple[User, Credential]:
        async def work(connection: AsyncConnection) -> tuple[User | None, Credential | None]:
            return await users.read_user(connection, user_id), await credentials.read_by_user(connection, user_id)

        user, credential = await self._database.query(work)
        if user is None or credential is None:
            raise UserNotFound(user_id)
        if credential.password_hash is None:
            raise PasswordNotSet
        return user, credential

    async def _session_to_keep(self, change: PasswordChange) -> str | None:
        if not change.session_token:
            return None
        session, _ = await self._validate_session(change.session_token, change.user_id)
        return session.id


def _attempts(user: User, ip_address: str) -> list[Subject]:
    # Not those of the sign-in: guesses at its door, which is open to everybody, must not keep a user who has signed in
    # from a change of the password, nor a thief's guesses here keep its owner from signing in.
    action = actions.CHANGE_PASSWORD
    return [account(action, normalize(user.email)), address(action, ip_address)]


def guesses(normalized_email: str) -> list[Subject]:
    """Name all that counts guesses at the password of an address; a new password makes them void."""
    return [account(action, normalized_email) for action in (actions.SIGN_IN, actions.CHANGE_PASSWORD)]


async def _check_none(connection: AsyncConnection, user_id: str, *, lock: bool) -> User:
    """Return a user who has no password. Raises UserNotFound or PasswordAlreadySet."""
    user = await users.read_user(connection, user_id, lock=lock)
    if user is None:
        raise UserNotFound(user_id)
    credential = await credentials.read_by_user(connection, user.id)
    if credential is not None and credential.password_hash is not None:
        raise PasswordAlreadySet
    return user


async def reset(connection: AsyncConnection, user: User, hashed: str, now: datetime) -> int:
    """Set the password of a user whose row the transaction holds locked, and end all sessions.

    Returns how many sessions ended.
    """
    await credentials.put(connection, user.id, hashed, now)
    await credentials.clear_legacy(connection, user.id)
    await record(connection, UserEventKind.PASSWORD_CHANGED, user.id, user.revision, now)
    return await sessions.revoke_all(connection, user.id, now, PASSWORD_RESET)
