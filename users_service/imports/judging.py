"""Judging: each user of a request by its own, by the rules of the contract and those that it cannot write down.

A request is not refused for one of its users, so protovalidate is asked about each and not about the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from vibework.errors.v1.error_reason_pb2 import ERROR_REASON_INVALID_FIELDS
from vibework.users.v1 import imported_user_pb2 as pb

from chassis.contract.ids import new_id
from chassis.contract.timestamps import from_proto
from chassis.errors import InvalidFields
from chassis.interceptors.validation import Check
from users_service.accounts.messages import tokens_of
from users_service.accounts.tokens import TokenCipher
from users_service.imports.model import OF_PROVIDERS, Incoming, IncomingAccount, Judged, Moment, Refusal
from users_service.sessions import lifetime, tokens
from users_service.sessions.model import AuthenticationMethod, ClientDetails, Session
from users_service.users.email import normalize
from users_service.users.model import User

# How far the clock of the other system may be ahead of ours.
AHEAD: Final = timedelta(minutes=1)
# Characters of an id, by the contract.
ID_LENGTH: Final = 255


class Judge:
    """Reads users of requests; ``check``: raises InvalidFields for one that breaks a rule of the contract."""

    def __init__(self, check: Check, cipher: TokenCipher) -> None:
        self._check = check
        self._cipher = cipher

    def judge(self, message: pb.ImportedUser, now: datetime) -> Judged:
        """Return the user to be stored, or why not. Hashes are not looked at yet."""
        try:
            self._check(message)
            return self._read(message, Moment(now, now + AHEAD))
        except InvalidFields as error:
            return Refusal(message.id[:ID_LENGTH], ERROR_REASON_INVALID_FIELDS, error.violations[0].field)

    def _read(self, message: pb.ImportedUser, at: Moment) -> Incoming:
        user = _user(message, at)
        normalized = normalize(user.email)
        accounts = [
            self._account(each, user, normalized, at, f"accounts[{number}]")
            for number, each in enumerate(message.accounts)
        ]
        sessions = list(_sessions(message, user, at))
        return Incoming(user, normalized, message.password_hash, accounts, [] if user.disabled_at else sessions)

    def _account(
        self, message: pb.ImportedAccount, user: User, normalized: str, at: Moment, path: str
    ) -> IncomingAccount:
        account = message.account
        _refuse_space(account.account_id, f"{path}.account.account_id")
        created_at = _past(message, "created_at", at, path) or user.created_at
        id_, given = new_id("acct"), tokens_of(account.tokens)
        values = {
            **dict.fromkeys(OF_PROVIDERS),
            **self._cipher.columns(id_, given),
            "id": id_,
            "verified_email": normalized if message.email_verified else None,
            "created_at": created_at,
            "updated_at": _past(message, "updated_at", at, path) or created_at,
        }
        return IncomingAccount(account.provider, account.account_id, values)


def _user(message: pb.ImportedUser, at: Moment) -> User:
    _refuse_space(message.id, "id")
    created_at = _past(message, "created_at", at) or at.now
    return User(
        id=message.id,
        email=message.email,
        email_verified=message.email_verified,
        name=message.name,
        image=message.image,
        revision=1,
        created_at=created_at,
        updated_at=_past(message, "updated_at", at) or created_at,
        **_disablement(message, at),
    )


def _disablement(message: pb.ImportedUser, at: Moment) -> dict[str, Any]:
    """Return the columns of a user who is disabled now; none of one who is active."""
    if not message.HasField("disabled"):
        return {}
    disabled = message.disabled
    began = _past(disabled, "at", at, "disabled") or at.now
    until = from_proto(disabled.until) if disabled.HasField("until") else None
    if until is not None and until <= at.now:
        return {}
    return {"disabled_at": began, "disabled_until": until, "disabled_reason": disabled.reason}


def _sessions(message: pb.ImportedUser, user: User, at: Moment) -> Iterator[tuple[int, Session]]:
    """Yield the sessions that are open now, with their places. Raises InvalidFields, for any of them."""
    for number, each in enumerate(message.sessions):
        session = _session(each, user, at, f"sessions[{number}]")
        if session.expires_at > at.now:
            yield number, session


def _session(message: pb.ImportedSession, user: User, at: Moment, path: str) -> Session:
    created_at = _past(message, "created_at", at, path) or at.now
    expires_at, last = from_proto(message.expires_at), lifetime.absolute_end(created_at, do_not_remember=False)
    if expires_at > last:
        raise InvalidFields.of(f"{path}.expires_at", "must be at most 30 days after created_at", "SESSION_LIFETIME")
    client = ClientDetails.of(message.ip_address, message.user_agent)
    extended_at = max(created_at, expires_at - lifetime.SLIDING)
    return Session(
        id=new_id("sess"),
        user_id=user.id,
        token_hash=message.token_sha256 or tokens.digest(message.session_token),
        created_at=created_at,
        expires_at=expires_at,
        absolute_expires_at=last,
        extended_at=extended_at,
        last_seen_at=max(created_at, min(extended_at, at.now)),
        revoked_at=None,
        do_not_remember=False,
        ip_address=client.ip_address,
        user_agent=client.user_agent,
        authentication_method=AuthenticationMethod.IMPORTED,
    )


def _past(message: Any, name: str, at: Moment, path: str = "") -> datetime | None:
    """Read the time of something that has happened; None where none is given."""
    if not message.HasField(name):
        return None
    time = from_proto(getattr(message, name))
    if time > at.latest:
        where = f"{path}.{name}" if path else name
        raise InvalidFields.of(where, "must be at most a minute ahead of now", "TIMESTAMP_AHEAD")
    return time


def _refuse_space(text: str, path: str) -> None:
    if text.endswith(" "):
        # To the database "1" and "1 " are equal.
        raise InvalidFields.of(path, "must not end in a space", "STRING_TRAILING_SPACE")
