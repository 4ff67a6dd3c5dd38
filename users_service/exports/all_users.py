"""All users in the form that imports read, a page at a time, each page as of one moment."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import imported_user_pb2 as pb

from chassis.contract.timestamps import assign
from users_service.accounts.messages import fill_tokens
from users_service.accounts.repository import account_from
from users_service.accounts.tokens import TokenCipher
from users_service.credentials.model import CREDENTIAL
from users_service.errors import EncryptionKeyMissing, RecordUnreadable
from users_service.exports import repository
from users_service.mysql.database import Database
from users_service.mysql.rows import as_text, key
from users_service.sessions import lifetime
from users_service.sessions.repository import from_row
from users_service.users.email import folded
from users_service.users.repository import user_of

# Users of a page.
PAGE: Final = 500
# How long the three statements of a page may take together.
PAGE_SECONDS: Final = 60.0
# What keeps a user from being exported.
_UNFIT: Final = (RecordUnreadable, EncryptionKeyMissing)

# Hears of a user who cannot be exported: the id, and the reason.
Leave = Callable[[str, str], None]


@dataclass(frozen=True)
class AllUsers:
    """Reads all users in the order of their ids; who cannot be read is left out, and told to ``leave``."""

    database: Database
    cipher: TokenCipher
    clock: Callable[[], datetime]
    leave: Leave

    async def pages(self) -> AsyncIterator[list[pb.ImportedUser]]:
        """Yield pages to the end. Whoever is created meanwhile comes along, if the id is greater than those read."""
        async with self.database.session() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            after = ""
            while True:
                rows = _Rows()
                async with asyncio.timeout(PAGE_SECONDS):
                    await rows.read(connection, after, self.clock())
                    # The next page is of a moment of its own.
                    await connection.rollback()
                if not rows.users:
                    return
                yield [found for row in rows.users if (found := self._user(row, rows)) is not None]
                after = key(rows.users[-1].id)

    def _user(self, row: Row[Any], rows: _Rows) -> pb.ImportedUser | None:
        id_ = key(row.id)
        try:
            return self._filled(row, rows.accounts[id_], rows.sessions[id_])
        except _UNFIT as error:
            self.leave(id_, error.reason)
            return None

    def _filled(self, row: Row[Any], accounts: Iterable[Row[Any]], sessions: Iterable[Row[Any]]) -> pb.ImportedUser:
        user, legacy_hash = user_of(row[:-1]), row[-1]
        target = pb.ImportedUser(
            id=user.id, email=user.email, email_verified=user.email_verified, name=user.name, image=user.image
        )
        assign(target.created_at, user.created_at)
        assign(target.updated_at, user.updated_at)
        if user.disabled_at is not None:
            target.disabled.reason = user.disabled_reason
            assign(target.disabled.at, user.disabled_at)
            assign(target.disabled.until, user.disabled_until)
        target.password_hash = as_text(legacy_hash or "")
        for account in accounts:
            self._fill_account(target, account, folded(user.email))
        for session in sessions:
            _fill_session(target.sessions.add(), session)
        return target

    def _fill_account(self, target: pb.ImportedUser, row: Row[Any], email: str) -> None:
        account = account_from(repository.account_columns(row))
        if account.provider == CREDENTIAL:
            target.password_hash = as_text(row.password or "") or target.password_hash
            return
        added = target.accounts.add()
        added.account.provider, added.account.account_id = account.provider, account.account_id
        tokens = self.cipher.opened(account)
        if any(value is not None for value in (tokens.scope, tokens.expires_at, tokens.refresh_token_expires_at)) or (
            account.has_tokens
        ):
            fill_tokens(added.account.tokens, tokens)
        assign(added.created_at, account.created_at)
        assign(added.updated_at, account.updated_at)
        added.email_verified = row.verified_email == email


class _Rows:
    """The rows of a page, those that belong to users by their owners."""

    def __init__(self) -> None:
        self.users: list[Row[Any]] = []
        self.accounts: defaultdict[str, list[Row[Any]]] = defaultdict(list)
        self.sessions: defaultdict[str, list[Row[Any]]] = defaultdict(list)

    async def read(self, connection: AsyncConnection, after: str, now: datetime) -> None:
        """Read the page after an id."""
        self.users = await repository.page_of_users(connection, after, PAGE)
        if not self.users:
            return
        first, last = repository.of_page(self.users)
        for row in await repository.accounts_between(connection, first, last):
            self.accounts[key(row.owner)].append(row)
        for row in await repository.sessions_between(connection, first, last, now):
            self.sessions[key(row.owner)].append(row)


def _fill_session(target: pb.ImportedSession, row: Row[Any]) -> None:
    session = from_row(row[1:])
    target.token_sha256 = session.token_hash
    assign(target.created_at, session.created_at)
    # Of another system's writing it may be later than any that is taken over.
    last = min(session.absolute_expires_at, session.created_at + lifetime.ABSOLUTE)
    assign(target.expires_at, min(session.expires_at, last))
    target.ip_address = session.ip_address
    target.user_agent = session.user_agent
