"""The rows of users who come in, table by table in the order in which they refer to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Table

from chassis.contract.ids import new_id
from users_service.credentials.model import CREDENTIAL
from users_service.imports.model import OF_PROVIDERS, Incoming, IncomingAccount
from users_service.sessions.repository import row_of as row_of_session
from users_service.tables import accounts, sessions, users
from users_service.users.model import User
from users_service.users.repository import row_of as row_of_user


def rows_of(incoming: Sequence[Incoming]) -> dict[Table, list[dict[str, Any]]]:
    """Return the rows of these users."""
    return {
        users: [row_of_user(each.user) for each in incoming],
        accounts: [row for each in incoming for row in _accounts(each)],
        sessions: [row_of_session(session) for each in incoming for _, session in each.sessions],
    }


def _accounts(incoming: Incoming) -> Iterator[dict[str, Any]]:
    if incoming.password_hash:
        yield _credential(incoming.user, incoming.password_hash)
    for account in incoming.accounts:
        yield _provided(incoming.user, account)


def _credential(user: User, password_hash: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(OF_PROVIDERS),
        "id": new_id("acct"),
        "user_id": user.id,
        "provider": CREDENTIAL,
        "account_id": user.id,
        "password": password_hash,
        "revision": 1,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def _provided(user: User, account: IncomingAccount) -> dict[str, Any]:
    return {
        **account.values,
        "user_id": user.id,
        "provider": account.provider,
        "account_id": account.account_id,
        "password": None,
        "revision": 1,
    }
