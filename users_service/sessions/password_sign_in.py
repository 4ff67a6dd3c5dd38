"""Sign-in with a password.

It takes and returns messages of the contract, because the first answer is kept for repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import session_service_pb2 as pb

from chassis.clock import Clock
from chassis.errors import ConflictRetry
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, account, address
from users_service.attempts.repository import Counter
from users_service.credentials import repository as credentials
from users_service.credentials.model import Credential
from users_service.credentials.replacing import replace
from users_service.errors import NOT_HASHED, CredentialsInvalid, UserDisabled
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.outbox.notices import Notices
from users_service.passwords.hasher import Passwords
from users_service.sessions import repository
from users_service.sessions.familiarity import tell_of_new_client
from users_service.sessions.issuing import new_session
from users_service.sessions.messages import client_details, fill
from users_service.sessions.model import AuthenticationMethod, ClientDetails, Session
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.messages import fill as fill_user
from users_service.users.model import User

# How often a sign-in verifies anew because the hash changed between verification and transaction.
ROUNDS = 3

# The user with the address, and the hash to verify; None: no user has it.
Holder = tuple[User, Credential] | None


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


class _HashChanged(Exception):
    """The hash that was verified is no longer the stored one: another sign-in upgraded it, or it was changed."""


class PasswordSignIn:
    """Sign-in by email and password, within the limits on attempts."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        passwords: Passwords,
        attempts: Attempts,
        clock: Clock,
        *,
        notices: Notices,
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock
        self._notices = notices

    async def sign_in(self, request: pb.SignInRequest) -> pb.SignInResponse:
        """Check email and password and issue a session.

        Raises CredentialsInvalid, after the same time for an unknown email and for a wrong password, whether or not
        the user is disabled; UserDisabled, for the right password alone; RateLimited, whether or not the password is
        right; PasswordHashingBusy, PasswordHashingUnavailable, RequestIdReused, RequestInFlight.
        """
        # A repeat is not counted as an attempt, and nothing is verified for it.
        if answer := await self._idempotency.remembered(request, pb.SignInResponse):
            return answer
        now, normalized, client = self._clock(), normalize(request.email), client_details(request.client)
        counters = self._attempts.counters(
            (account(actions.SIGN_IN, normalized), address(actions.SIGN_IN, client.ip_address))
        )
        # An attempt that cannot be made must not count, nor take a connection while the service is busiest.
        self._passwords.ensure_room()
        found = await self._database.transaction(partial(self._begin, normalized, counters, now))
        for _ in range(ROUNDS):
            async with self._attempts.making(counters):
                user, credential, replacement = await self._verify(found, request.password)
            verified = _Verified(user, credential, replacement, counters, client, request.do_not_remember, now)
            try:
                return await self._finish(request, verified)
            except _HashChanged:
                found = await self._database.query(partial(_read, normalized))
            except UserDisabled:
                # The password was right: no guess that counts against whoever signs in once the user is enabled.
                await self._settle(counters)
                raise
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

    async def _finish(self, request: pb.SignInRequest, verified: _Verified) -> pb.SignInResponse:
        """Issue the session, or return that of the same request, which came first. Raises _HashChanged."""
        made: pb.SignInResponse | None = None

        async def work(connection: AsyncConnection) -> pb.SignInResponse:
            nonlocal made
            made = await self._issue(connection, verified)
            return made

        answer = await self._idempotency.run(request, pb.SignInResponse, work)
        if answer is not made:
            # The password was right here, too, so this attempt is taken back like that of the first.
            await self._settle(verified.counters)
        return answer

    async def _settle(self, counters: Sequence[Counter]) -> None:
        await self._database.transaction(lambda connection: self._attempts.settle(connection, counters))

    async def _issue(self, connection: AsyncConnection, verified: _Verified) -> pb.SignInResponse:
        session, token = new_session(
            verified.user.id,
            verified.client,
            verified.now,
            method=AuthenticationMethod.PASSWORD,
            do_not_remember=verified.do_not_remember,
        )
        await tell_of_new_client(connection, self._notices, verified.user.id, verified.client, verified.now)
        if not await _store(connection, session, verified):
            raise _HashChanged
        await self._attempts.settle(connection, verified.counters)
        response = pb.SignInResponse(session_token=token)
        fill_user(response.user, await _active(connection, verified.user))
        fill(response.session, session, verified.now)
        return response


async def _read(normalized: str, connection: AsyncConnection) -> Holder:
    return await credentials.read_by_email(connection, normalized)


async def _store(connection: AsyncConnection, session: Session, verified: _Verified) -> bool:
    """Store the session if the verified hash is still the stored one, which then stays so until the commit.

    Raises UserDisabled.
    """
    credential, stored = verified.credential, verified.credential.password_hash
    if stored is None:
        return False
    if not (credential.legacy or verified.replacement):
        if await repository.insert_guarded(connection, session, stored):
            return True
        await _check_state(connection, credential.user_id, lock=False)
        return False
    # The user's row is locked first, in the order of password changes.
    await _check_state(connection, credential.user_id, lock=True)
    if not await replace(connection, credential, verified.replacement or stored, verified.now):
        return False
    return await repository.insert_session(connection, session)


async def _check_state(connection: AsyncConnection, user_id: str, *, lock: bool) -> None:
    user = await users.read_user(connection, user_id, lock=lock)
    if user is not None and user.is_disabled:
        raise UserDisabled


async def _active(connection: AsyncConnection, user: User) -> User:
    """Return the user as of the sign-in: that the session was stored proves that none of it is disabled by now."""
    if not user.is_disabled:
        return user
    return await users.read_user(connection, user.id) or user
