"""Conversion of another system's rows into ours; what does not fit is refused by column."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chassis.contract.ids import new_id
from users_service.accounts.expiry import stored_seconds
from users_service.accounts.model import Tokens
from users_service.accounts.tokens import ENCRYPTED, TokenCipher
from users_service.credentials.model import CREDENTIAL
from users_service.migrations.adoption.hashes import Verifiable
from users_service.sessions import tokens
from users_service.sessions.lifetime import ABSOLUTE
from users_service.sessions.model import AuthenticationMethod, ClientDetails
from users_service.users.email import MAX_LENGTH, folded

# By the names that columns have here.
TheirRow = Mapping[Any, Any]

# As protovalidate's rule `email`, by which every call is checked: that of HTML.
_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL: Final = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_LENGTH: Final = 255
_SCOPE_LENGTH: Final = 2_048
# What MySQL's TIMESTAMP holds.
_FIRST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(2038, 1, 18, tzinfo=UTC)
# Bytes of a token that fit into a TEXT once they are encrypted and in base64.
_TOKEN_BYTES: Final = 49_000
# As Better Auth writes a token under a key of its own (`encryptOAuthTokens`); no provider writes one so.
_ENCRYPTED: Final = re.compile(r"\$ba\$.*|(?:[0-9a-f]{2}){41,}", re.DOTALL)


class Unfit(Exception):
    """A value cannot be adopted; ``column`` by its name here."""

    def __init__(self, column: str, reason: str) -> None:
        self.column, self.reason = column, reason
        super().__init__(f"{column}: {reason}")


class LeftOut(Exception):
    """A row lets nobody in, so it is left where it is; the text says why."""


class Rows:
    """Converts rows; all of one adoption."""

    def __init__(self, cipher: TokenCipher, now: datetime) -> None:
        """``now``: sessions that end later are open."""
        self._cipher = cipher
        self._now = now
        self._hashes = Verifiable()

    def user(self, row: TheirRow) -> dict[str, Any]:
        """Return the user's row. Raises Unfit."""
        if row.get("second_factor"):
            raise Unfit("second_factor", "the user signs in with a second factor, and there is none here")
        created = _time(row, "created_at") or self._now
        return {
            "id": _id(row, "id"),
            **_address(row),
            "email_verified": bool(row.get("email_verified")),
            "name": _text(row, "name"),
            "password_hash": self._hash(row, "password_hash"),
            "image": _text(row, "image"),
            **self._disabled(row),
            "created_at": created,
            "updated_at": _time(row, "updated_at") or created,
        }

    def session(self, row: TheirRow) -> dict[str, Any]:
        """Return the session's row. Raises LeftOut or Unfit."""
        ends = _moment(row["expires_at"])
        if ends is None or ends <= self._now:
            raise LeftOut("of expired sessions")
        if row.get("impersonated_by"):
            raise LeftOut("of sessions in which somebody acts as the user")
        if self._is_banned(row, "owner_"):
            raise LeftOut("of users who are banned")
        created = _time(row, "created_at") or self._now
        seen = _time(row, "updated_at") or created
        client = _client(row)
        return {
            "id": new_id("sess"),
            "user_id": _owner(row),
            "token_hash": tokens.digest(_token(row)),
            "expires_at": min(ends, _LAST),
            # A session stays open for as long as it would have there.
            "absolute_expires_at": min(max(created + ABSOLUTE, ends), _LAST),
            "extended_at": seen,
            "last_seen_at": seen,
            "ip_address": client.ip_address or None,
            "user_agent": client.user_agent or None,
            "authentication_method": AuthenticationMethod.IMPORTED.value,
            "created_at": created,
        }

    def account(self, row: TheirRow) -> dict[str, Any]:
        """Return the account's row, its tokens encrypted. Raises LeftOut or Unfit."""
        id_, owner = _id(row, "id"), _owner(row)
        password = self._hash(row, "password")
        created = _time(row, "created_at") or self._now
        # Whoever has a password signs in with it, whatever name the other system gave to that.
        mine = password is not None or row["provider"] == CREDENTIAL
        return {
            "id": id_,
            "user_id": owner,
            "account_id": owner if mine else _id(row, "account_id"),
            "provider": CREDENTIAL if mine else _id(row, "provider"),
            **dict.fromkeys((*ENCRYPTED, "expires_at", "refresh_token_expires_at", "scope", "token_key_id")),
            **self._cipher.columns(id_, _tokens(row)),
            "password": password,
            "created_at": created,
            "updated_at": _time(row, "updated_at") or created,
        }

    def _hash(self, row: TheirRow, column: str) -> str | None:
        stored: str | None = row.get(column) or None
        if stored is not None and (problem := self._hashes.problem(stored)):
            raise Unfit(column, problem)
        return stored

    def _disabled(self, row: TheirRow) -> dict[str, Any]:
        """Return the columns of a user who is banned there, and so must not get in here."""
        if not self._is_banned(row):
            return {"is_disabled": False, **dict.fromkeys(("disabled_at", "disabled_until", "disabled_reason"))}
        return {
            "is_disabled": True,
            "disabled_at": self._now,
            "disabled_until": _moment(row.get("ban_expires")),
            "disabled_reason": (row.get("ban_reason") or "")[:_LENGTH] or None,
        }

    def _is_banned(self, row: TheirRow, of: str = "") -> bool:
        until = _moment(row.get(f"{of}ban_expires"))
        return bool(row.get(f"{of}banned")) and (until is None or until > self._now)


def _address(row: TheirRow) -> dict[str, str]:
    email = row["email"]
    if email is None or not _EMAIL.fullmatch(email):
        raise Unfit("email", "no address by the rules of this service (ASCII; a domain in punycode)")
    if len(email) > MAX_LENGTH:
        raise Unfit("email", f"longer than {MAX_LENGTH} characters")
    return {"email": email, "email_normalized": folded(email)}


def _id(row: TheirRow, column: str) -> str:
    value = "" if row[column] is None else str(row[column])
    if not value:
        raise Unfit(column, "empty")
    # Here a text is the same key as one with spaces behind it.
    if value.endswith(" "):
        raise Unfit(column, "ends in a space")
    return _fitting(value, column)


def _owner(row: TheirRow) -> str:
    if row["owner"] is None:
        raise LeftOut("of users who are not there")
    return str(row["owner"])


def _token(row: TheirRow) -> str:
    token = row["token"]
    if not token:
        raise Unfit("token", "empty")
    return str(token)


def _text(row: TheirRow, column: str) -> str | None:
    value = row.get(column)
    return None if value is None else _fitting(str(value), column)


def _fitting(value: str, column: str, length: int = _LENGTH) -> str:
    if len(value) > length:
        raise Unfit(column, f"longer than {length:,} characters")
    return value


def _tokens(row: TheirRow) -> Tokens:
    plain = {name: row.get(name) or None for name in ENCRYPTED}
    for name, token in plain.items():
        if token is not None and len(token.encode()) > _TOKEN_BYTES:
            raise Unfit(name, f"longer than {_TOKEN_BYTES:,} bytes")
        if token is not None and _ENCRYPTED.fullmatch(token):
            raise Unfit(name, "encrypted by Better Auth: store it in plain text first, or set it to NULL")
    scope = row.get("scope") or None
    return Tokens(
        **plain,
        expires_at=_seconds(row.get("expires_at")),
        refresh_token_expires_at=_seconds(row.get("refresh_token_expires_at")),
        scope=None if scope is None else _fitting(scope, "scope", _SCOPE_LENGTH),
    )


def _seconds(stored: Any) -> int | None:
    moment = _moment(stored)
    if moment is not None:
        return int(moment.timestamp())
    return stored_seconds(stored) if isinstance(stored, int) else None


def _moment(stored: Any) -> datetime | None:
    """Return a time in UTC as aware; None for none."""
    return stored.replace(tzinfo=UTC) if isinstance(stored, datetime) else None


def _time(row: TheirRow, column: str) -> datetime | None:
    moment = _moment(row.get(column))
    if moment is not None and not _FIRST <= moment <= _LAST:
        raise Unfit(column, f"not between {_FIRST:%Y-%m-%d} and {_LAST:%Y-%m-%d}")
    return moment


def _client(row: TheirRow) -> ClientDetails:
    """Return what is shown of a session's device; an address that is none is left out."""
    client = ClientDetails.of(row.get("ip_address") or "", row.get("user_agent") or "")
    try:
        ipaddress.ip_address(client.ip_address)
    except ValueError:
        return ClientDetails("", client.user_agent)
    return client
