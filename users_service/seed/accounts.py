"""Made-up ways to sign in: a password for most, providers for some, and their tokens, encrypted as real ones are."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.commands.fake_people import moment
from chassis.contract.ids import id_at
from users_service.accounts.model import Tokens
from users_service.accounts.tokens import TokenCipher
from users_service.credentials.model import CREDENTIAL
from users_service.users.model import User

_PROVIDERS: Final = ("google", "google", "google", "github", "apple", "microsoft", "gitlab", "discord")
_HOUR: Final = timedelta(hours=1)


class Accounts:
    """Makes accounts up; all passwords have the one hash."""

    def __init__(self, cipher: TokenCipher, password_hash: str) -> None:
        self._cipher = cipher
        self._password_hash = password_hash

    def rows(self, chance: random.Random, user: User, now: datetime) -> list[dict[str, Any]]:
        """Return the columns of a user's accounts: at least one."""
        drawn = chance.random()
        found = [self._credential(chance, user)] if drawn < 0.9 else []
        if drawn > 0.7:
            providers = sorted({chance.choice(_PROVIDERS) for _ in range(chance.randint(1, 2))})
            found.extend(self._provided(chance, user, provider, now) for provider in providers)
        return found

    def _credential(self, chance: random.Random, user: User) -> dict[str, Any]:
        id_ = id_at("acct", user.created_at, chance.getrandbits(74))
        return _row(id_, user, CREDENTIAL, user.id, user.created_at) | {"password": self._password_hash}

    def _provided(self, chance: random.Random, user: User, provider: str, now: datetime) -> dict[str, Any]:
        linked = moment(chance, user.created_at, now)
        id_ = id_at("acct", linked, chance.getrandbits(74))
        return {
            **_row(id_, user, provider, str(10**20 + chance.getrandbits(66)), linked),
            **self._cipher.columns(id_, _tokens(chance, now)),
        }


def _row(id_: str, user: User, provider: str, account_id: str, created: datetime) -> dict[str, Any]:
    # All rows of one statement name the same columns.
    columns = ("password", "access_token", "refresh_token", "id_token", "token_key_id", "scope")
    return {
        **dict.fromkeys((*columns, "expires_at", "refresh_token_expires_at")),
        "id": id_,
        "user_id": user.id,
        "account_id": account_id,
        "provider": provider,
        "revision": 1,
        "created_at": created,
        "updated_at": created,
    }


def _tokens(chance: random.Random, now: datetime) -> Tokens:
    return Tokens(
        access_token=f"fake-access-{chance.getrandbits(160):040x}",
        refresh_token=f"fake-refresh-{chance.getrandbits(160):040x}",
        expires_at=int(moment(chance, now - _HOUR, now + _HOUR).timestamp()),
        scope="openid email profile",
    )
