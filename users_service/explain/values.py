"""Values for the examples, from existing rows: the plan for a missing row says little."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.accounts.model import Account
from users_service.sessions.model import Session
from users_service.tables import accounts, outbox, sessions, users, verifications
from users_service.users.model import User
from users_service.verifications.model import Purpose, SecretKind, Verification

_NOBODY = "none"


@dataclass(frozen=True, slots=True)
class Values:
    """One row of each table, or, of an empty one, what could be a row."""

    now: datetime
    user: User
    email: str
    session: Session
    account: Account
    verification: Verification
    entry: str

    @property
    def later(self) -> datetime:
        """A time to come."""
        return self.now + timedelta(minutes=5)


async def pick(connection: AsyncConnection, now: datetime) -> Values:
    """Read one row of each table; none of it is ever shown."""
    user = await _row(connection, users)
    session = await _row(connection, sessions)
    account = await _row(connection, accounts)
    verification = await _row(connection, verifications)
    entry = await _row(connection, outbox)
    return Values(
        now=now,
        user=_user(user, now),
        email=user.get("email_normalized", _NOBODY),
        session=_session(session, now),
        account=_account(account, now),
        verification=_verification(verification, now),
        entry=entry.get("id", _NOBODY),
    )


async def _row(connection: AsyncConnection, table: Table) -> dict[str, Any]:
    found = (await connection.execute(select(table).limit(1))).mappings().first()
    return dict(found) if found else {}


def _user(row: dict[str, Any], now: datetime) -> User:
    return User(
        id=row.get("id", _NOBODY),
        email=row.get("email", _NOBODY),
        email_verified=False,
        name="name",
        image="",
        revision=row.get("revision", 1),
        created_at=row.get("created_at", now),
        updated_at=now,
    )


def _session(row: dict[str, Any], now: datetime) -> Session:
    return Session(
        id=row.get("id", _NOBODY),
        user_id=row.get("user_id", _NOBODY),
        token_hash=row.get("token_hash", bytes(32)),
        created_at=row.get("created_at", now),
        expires_at=now,
        absolute_expires_at=now,
        extended_at=now,
        last_seen_at=now,
        revoked_at=None,
        do_not_remember=False,
        ip_address="",
        user_agent="",
    )


def _account(row: dict[str, Any], now: datetime) -> Account:
    return Account(
        id=row.get("id", _NOBODY),
        user_id=row.get("user_id", _NOBODY),
        account_id=row.get("account_id", _NOBODY),
        provider=row.get("provider", _NOBODY),
        scope=None,
        expires_at=None,
        refresh_token_expires_at=None,
        token_key_id=None,
        revision=row.get("revision", 1),
        created_at=row.get("created_at", now),
        updated_at=now,
    )


def _verification(row: dict[str, Any], now: datetime) -> Verification:
    return Verification(
        id=row.get("id", _NOBODY),
        identifier=row.get("identifier", _NOBODY),
        value="",
        purpose=Purpose(row.get("purpose", Purpose.SIGN_IN)),
        kind=SecretKind(row.get("kind", SecretKind.CODE)),
        attempts=0,
        consumed_at=None,
        expires_at=now,
        created_at=now,
    )
