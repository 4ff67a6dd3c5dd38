"""Storing accounts with the tokens of their providers, encrypted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.accounts import repository
from users_service.accounts.model import Account, NewAccount, Tokens
from users_service.accounts.tokens import TokenCipher


async def insert_linked(
    connection: AsyncConnection,
    cipher: TokenCipher,
    user_id: str,
    new: NewAccount,
    now: datetime,
    *,
    verified_email: str | None = None,
) -> Account:
    """Store an account with its tokens encrypted. Raises AccountAlreadyLinked or UserNotFound.

    ``verified_email``: the address, normalised, that the provider says it has verified; None where it says so of none.
    """
    account = repository.new_account(user_id, new.provider, new.account_id, now, verified_email=verified_email)
    account = replace(account, **cipher.columns(account.id, new.tokens))
    await repository.insert_account(connection, account)
    return account


async def store_tokens(
    connection: AsyncConnection, cipher: TokenCipher, account: Account, tokens: Tokens, now: datetime
) -> Account:
    """Replace the tokens that are given of an account that the transaction holds locked; return it as stored."""
    if tokens == Tokens():
        return account
    values = cipher.merged(account, tokens)
    await repository.change(connection, account, values, now)
    return replace(account, **values, revision=account.revision + 1, updated_at=now)
