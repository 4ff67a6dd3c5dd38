"""Sign-in with a provider account: finding its user, linking it by email, or creating a user.

It takes and returns messages of the contract, because the first answer is kept for repeats.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import account_service_pb2 as pb

from chassis.clock import Clock
from chassis.errors import ConflictRetry
from users_service.accounts import messages, repository
from users_service.accounts.linking import insert_linked, store_tokens
from users_service.accounts.model import (
    Account,
    MatchedAccount,
    NewAccount,
    Profile,
    ProviderSignedIn,
    SignInRequest,
    Tokens,
)
from users_service.accounts.profiles import ProfileRules, verified_email
from users_service.accounts.tokens import TokenCipher
from users_service.attempts import actions
from users_service.attempts.limiter import Attempts, address
from users_service.errors import (
    AccountAlreadyLinked,
    AccountNotFound,
    EmailTaken,
    LinkingNotAllowed,
    RecordUnreadable,
    UserNotFound,
)
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.outbox.notices import Notices
from users_service.sessions.familiarity import tell_of_new_client
from users_service.sessions.issuing import issue
from users_service.sessions.model import AuthenticationMethod
from users_service.users import repository as users
from users_service.users.email import normalize
from users_service.users.model import User, new_user

# How often the transaction begins anew because a row that it had read was created or removed by another one.
READINGS: Final = 4


class _Unknown(Exception):
    """Nobody has the account or its address, and no user may be created yet."""


class AccountSignIn:
    """Signs in with provider accounts."""

    def __init__(
        self,
        idempotency: Idempotency,
        cipher: TokenCipher,
        attempts: Attempts,
        clock: Clock,
        *,
        profiles: ProfileRules,
        notices: Notices,
    ) -> None:
        self._idempotency = idempotency
        self._notices = notices
        self._profiles = profiles
        self._cipher = cipher
        self._attempts = attempts
        self._clock = clock

    async def sign_in_with_account(self, request: pb.SignInWithAccountRequest) -> pb.SignInWithAccountResponse:
        """Find or create the user, link the account where the rules allow it, and issue a session.

        Raises LinkingNotAllowed, UserDisabled, RateLimited where the address created too many users, RequestIdReused,
        RequestInFlight, or InvalidFields where the account is not linked and the profile has no address.
        """
        wanted = messages.sign_in_of(request)
        try:
            return await self._signed_in(request, wanted, may_create=False)
        except _Unknown:
            # Counted with the sign-ups: one limit holds for new users, however they are created.
            await self._attempts.claim([address(actions.SIGN_UP, wanted.client.ip_address)], self._clock())
        return await self._signed_in(request, wanted, may_create=True)

    async def _signed_in(
        self, request: pb.SignInWithAccountRequest, wanted: SignInRequest, *, may_create: bool
    ) -> pb.SignInWithAccountResponse:
        """Sign in within one transaction, which begins anew where a row has changed. Raises _Unknown, ConflictRetry."""
        work = partial(self._attempt, wanted, may_create)
        for _ in range(READINGS):
            try:
                return await self._idempotency.run(request, pb.SignInWithAccountResponse, work)
            except (AccountAlreadyLinked, AccountNotFound, EmailTaken, UserNotFound):
                continue
        raise ConflictRetry

    async def _attempt(
        self, request: SignInRequest, may_create: bool, connection: AsyncConnection
    ) -> pb.SignInWithAccountResponse:
        now = self._clock()
        found = await self._known(connection, request, now)
        if found is None:
            profile = self._profiles.fitted(request.profile)
            found = await self._linked(connection, request.account, profile, now)
            if found is None and may_create:
                found = await self._created(connection, request.account, profile, now)
        if found is None:
            # Not an answer: what is to be kept for repeats is that of the transaction which creates the user.
            raise _Unknown
        if found.user_created:
            await self._notices.welcome(connection, found.user.id, now)
        else:
            await tell_of_new_client(connection, self._notices, found.user.id, request.client, now)
        session, token = await issue(
            connection,
            found.user.id,
            request.client,
            now,
            method=AuthenticationMethod.ACCOUNT,
            do_not_remember=request.do_not_remember,
        )
        response = pb.SignInWithAccountResponse()
        messages.fill_signed_in(response, ProviderSignedIn(found, session, token, now))
        return response

    async def _known(self, connection: AsyncConnection, request: SignInRequest, now: datetime) -> MatchedAccount | None:
        new = request.account
        known = await repository.get_by_provider(connection, new.provider, new.account_id)
        if known is None:
            return None
        # The user's row is locked first, as in unlinking: another order would lead to deadlocks.
        user = await users.read_user(connection, known.user_id, lock=True)
        account = await repository.get(connection, known.user_id, known.id, lock=True)
        if user is None or account is None:
            raise AccountNotFound(known.id)
        await _hear(connection, account, request.profile)
        return MatchedAccount(user, await self._with_tokens(connection, account, new.tokens, now))

    async def _with_tokens(
        self, connection: AsyncConnection, account: Account, tokens: Tokens, now: datetime
    ) -> Account:
        try:
            return await store_tokens(connection, self._cipher, account, tokens, now)
        except RecordUnreadable:
            # The log names the account. What is stored of its tokens keeps nobody from signing in.
            return account

    async def _linked(
        self, connection: AsyncConnection, new: NewAccount, profile: Profile, now: datetime
    ) -> MatchedAccount | None:
        # Locked: neither the address nor its being verified changes before the link is there.
        user = await users.lock_by_email(connection, normalize(profile.email))
        if user is None:
            return None
        if await repository.get_by_provider(connection, new.provider, new.account_id):
            # Another call linked it while this one waited for the lock, so the rules of linking do not apply.
            raise AccountAlreadyLinked
        if not (profile.email_verified and user.email_verified):
            raise LinkingNotAllowed
        account = await self._insert(connection, user, new, profile, now)
        return MatchedAccount(user, account, account_linked=True)

    async def _created(
        self, connection: AsyncConnection, new: NewAccount, profile: Profile, now: datetime
    ) -> MatchedAccount:
        user = new_user(
            profile.email, now, name=profile.name, image=profile.image, email_verified=profile.email_verified
        )
        await users.insert_user(connection, user)
        await record(connection, UserEventKind.CREATED, user.id, user.revision, now)
        account = await self._insert(connection, user, new, profile, now)
        return MatchedAccount(user, account, user_created=True, account_linked=True)

    async def _insert(
        self, connection: AsyncConnection, user: User, new: NewAccount, profile: Profile, now: datetime
    ) -> Account:
        word = verified_email(profile)
        return await insert_linked(connection, self._cipher, user.id, new, now, verified_email=word)


async def _hear(connection: AsyncConnection, account: Account, profile: Profile) -> None:
    """Note what the provider says of the address now; some tell it at the first sign-in only."""
    word = verified_email(profile) if profile.email else account.verified_email
    if word != account.verified_email:
        await repository.note_verified_email(connection, account, word)
