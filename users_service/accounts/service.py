"""The rules of accounts at providers: linking, unlinking, and the tokens that the providers issued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1.account_service_pb2 import LinkAccountRequest, LinkAccountResponse

from chassis.clock import Clock
from chassis.contract.keyset import TimeAndId, cut
from chassis.errors import EtagMismatch, InvalidFields
from users_service.accounts import messages, repository
from users_service.accounts.linking import insert_linked, store_tokens
from users_service.accounts.model import Account, Tokens
from users_service.accounts.rotation import TokenRotation
from users_service.accounts.tokens import TokenCipher
from users_service.credentials import repository as credentials
from users_service.credentials.model import CREDENTIAL
from users_service.errors import AccountNotFound, LastAccount, TokensNotFound, UserNotFound
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.mysql.rows import readable
from users_service.paging import key_of
from users_service.replicas.reads import Query
from users_service.users import repository as users
from users_service.users.model import User
from users_service.users.proofs import VoidProofs


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's accounts. ``last`` is the key of the last one; None on the last page."""

    accounts: Sequence[Account]
    last: TimeAndId | None


@dataclass(frozen=True)
class AccountService:
    """Links, unlinks and lists the accounts of a user, and keeps their tokens.

    ``query`` carries out lists; ``void_proofs`` ends the verifications of an address, as a change of password does.
    """

    database: Database
    query: Query
    idempotency: Idempotency
    cipher: TokenCipher
    rotation: TokenRotation
    clock: Clock
    void_proofs: VoidProofs

    async def link_account(self, request: LinkAccountRequest) -> LinkAccountResponse:
        """Link an account to a user. Raises UserNotFound, AccountAlreadyLinked, RequestIdReused, RequestInFlight."""
        new = messages.new_account_of(request.account)

        async def work(connection: AsyncConnection) -> LinkAccountResponse:
            user = await users.read_user(connection, request.user_id)
            if user is None:
                raise UserNotFound(request.user_id)
            account = await insert_linked(connection, self.cipher, user.id, new, self.clock())
            response = LinkAccountResponse()
            messages.fill(response.account, account)
            return response

        return await self.idempotency.run(request, LinkAccountResponse, work)

    async def unlink_account(self, user_id: str, id_: str) -> int:
        """Remove a way to sign in and return how many are left. Raises AccountNotFound or LastAccount."""

        async def work(connection: AsyncConnection) -> int:
            # Calls that unlink at the same time wait for each other here, so that each counts what is left.
            user = await users.read_user(connection, user_id, lock=True)
            account = await repository.get(connection, user_id, id_)
            if user is None or account is None:
                raise AccountNotFound(id_)
            return await self._unlink(connection, user, account)

        return await self.database.transaction(work)

    async def _unlink(self, connection: AsyncConnection, user: User, account: Account) -> int:
        others = [repository.account_of(row) for row in await repository.list_by_user(connection, account.user_id)]
        ways = [other.provider for other in others if other.id != account.id and other.signs_in]
        if account.provider == CREDENTIAL:
            await self._remove_password(connection, user, account)
        elif CREDENTIAL not in ways and await _has_password(connection, account.user_id):
            ways.append(CREDENTIAL)
        if not ways and account.signs_in:
            raise LastAccount
        await repository.delete(connection, account)
        return len(ways)

    async def _remove_password(self, connection: AsyncConnection, user: User, account: Account) -> None:
        """Void what proves to be the user, and record that the password goes with its account."""
        cleared = await credentials.clear_legacy(connection, user.id)
        await self.void_proofs(connection, user.id, user.email)
        if account.signs_in or cleared:
            await record(connection, UserEventKind.PASSWORD_CHANGED, user.id, user.revision, self.clock())

    async def list_accounts(self, user_id: str, *, after: TimeAndId | None, size: int) -> Page:
        """Return a user's accounts, oldest first, beginning after the key ``after``; none for an unknown user."""
        # One more than asked for tells whether there is another page.
        rows = await self.query(lambda connection: repository.list_by_user(connection, user_id, size + 1, after))
        rows, last = cut(rows, size, partial(key_of, descending=False))
        return Page(readable(repository.account_of, rows), last)

    async def get_account_tokens(self, user_id: str, id_: str) -> tuple[Account, Tokens]:
        """Return an account and its tokens in plain text.

        Raises AccountNotFound, TokensNotFound, or EncryptionKeyMissing.
        """
        account = await self.database.query(lambda connection: repository.get(connection, user_id, id_))
        if account is None:
            raise AccountNotFound(id_)
        if not account.has_tokens:
            raise TokensNotFound(id_)
        tokens = self.cipher.opened(account)
        await self.rotation.refresh(account)
        return account, tokens

    async def update_account_tokens(self, user_id: str, id_: str, tokens: Tokens, etag: str) -> Account:
        """Replace the tokens that are given. Raises AccountNotFound, EtagMismatch, or InvalidFields for a password."""

        async def work(connection: AsyncConnection) -> Account:
            account = await repository.get(connection, user_id, id_, lock=True)
            if account is None:
                raise AccountNotFound(id_)
            if account.provider == CREDENTIAL:
                raise InvalidFields.of(
                    "id", "names the account of the password, which holds no tokens", "ACCOUNT_OF_PASSWORD"
                )
            if etag and etag != account.etag:
                raise EtagMismatch(account.etag)
            return await store_tokens(connection, self.cipher, account, tokens, self.clock())

        return await self.database.transaction(work)


async def _has_password(connection: AsyncConnection, user_id: str) -> bool:
    credential = await credentials.read_by_user(connection, user_id)
    return credential is not None and credential.password_hash is not None
