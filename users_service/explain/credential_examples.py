"""Examples of the statements that accounts, passwords, verifications, attempts and idempotent requests send."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import session_service_pb2 as pb

from chassis.contract.idempotency import RequestInFlight
from chassis.errors import ServiceError
from chassis.keyring import Keyring
from users_service.accounts import repository as accounts
from users_service.attempts import repository as attempts
from users_service.attempts.repository import Counter
from users_service.credentials import repository as credentials
from users_service.explain.examples import Example
from users_service.explain.values import Values
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.verifications import repository as verifications

ACCOUNTS: Final = (
    Example("accounts.insert_account", lambda c, _, v: accounts.insert_account(c, v.account)),
    Example("accounts.get", lambda c, _, v: accounts.get(c, v.account.user_id, v.account.id)),
    Example("accounts.get", lambda c, _, v: accounts.get(c, v.account.user_id, v.account.id, lock=True), "locked"),
    Example(
        "accounts.get_by_provider",
        lambda c, _, v: accounts.get_by_provider(c, v.account.provider, v.account.account_id),
    ),
    Example("accounts.list_by_user", lambda c, _, v: accounts.list_by_user(c, v.account.user_id, 20)),
    Example(
        "accounts.list_by_user",
        lambda c, _, v: accounts.list_by_user(c, v.account.user_id, 20, (v.now, v.account.id)),
        "later page",
    ),
    Example("accounts.change", lambda c, _, v: accounts.change(c, v.account, {"scope": "s"}, v.now)),
    Example("accounts.delete", lambda c, _, v: accounts.delete(c, v.account)),
    Example("accounts.delete_many", lambda c, _, v: accounts.delete_many(c, v.account.user_id, [v.account.id, "b"])),
    Example("accounts.note_verified_email", lambda c, _, v: accounts.note_verified_email(c, v.account, v.email)),
    Example("accounts.list_unproved", lambda c, _, v: accounts.list_unproved(c, v.account.user_id, v.email)),
    Example("accounts.exchange_tokens", lambda c, _, v: accounts.exchange_tokens(c, v.account, {"scope": "s"})),
    Example("accounts.look_through", lambda c, _, v: accounts.look_through(c, "key", v.account.id, 500)),
    Example("accounts.get_many", lambda c, _, v: accounts.get_many(c, [v.account.id, "b"])),
)


CREDENTIALS: Final = (
    Example("credentials.read_by_email", lambda c, _, v: credentials.read_by_email(c, v.email)),
    Example("credentials.read_by_user", lambda c, _, v: credentials.read_by_user(c, v.user.id)),
    Example("credentials.store", lambda c, _, v: credentials.store(c, v.user.id, "", v.now)),
    Example("credentials.put", lambda c, _, v: credentials.put(c, v.user.id, "", v.now)),
    Example("credentials.exchange", lambda c, _, v: credentials.exchange(c, v.user.id, "", "", v.now)),
    Example("credentials.clear_legacy", lambda c, _, v: credentials.clear_legacy(c, v.user.id)),
    Example("credentials.clear_legacy", lambda c, _, v: credentials.clear_legacy(c, v.user.id, "hash"), "one hash"),
)


def _find(connection: AsyncConnection, _database: Database, values: Values) -> Awaitable[Any]:
    which = verifications.of_token(values.verification.purpose, values.verification.id)
    return verifications.find(connection, which)


def _attempt(connection: AsyncConnection, _database: Database, values: Values) -> Awaitable[Any]:
    which = verifications.of_code(values.verification.purpose, values.verification.identifier)
    return verifications.attempt(connection, which, ["a", "b"], values.now)


VERIFICATIONS: Final = (
    Example("verifications.put", lambda c, _, v: verifications.put(c, v.verification)),
    Example("verifications.void", lambda c, _, v: verifications.void(c, v.user.id, v.verification.identifier)),
    Example("verifications.find", _find),
    Example("verifications.attempt", _attempt),
)

_COUNTERS: Final = [Counter("sign_in:address", bytes(32), 100), Counter("sign_in:identifier", bytes(32), 10)]

ATTEMPTS: Final = (
    Example("attempts.increment", lambda c, _, v: attempts.increment(c, _COUNTERS, v.now, v.later)),
    Example("attempts.exceeded", lambda c, *_: attempts.exceeded(c, _COUNTERS)),
    Example("attempts.settle", lambda c, *_: attempts.settle(c, _COUNTERS, _COUNTERS[:1])),
)

_REQUEST: Final = pb.CreateSessionRequest(user_id="user_1", request_id="00000000-0000-4000-8000-000000000000")


def _idempotency(database: Database, values: Values) -> Idempotency:
    # Any key: nothing is kept.
    keyring = Keyring.parse(f"example:{base64.b64encode(os.urandom(32)).decode()}")
    return Idempotency(database, keyring, lambda: values.now)


async def _refused(_: AsyncConnection) -> ServiceError:
    return RequestInFlight()


async def _refuse(_connection: AsyncConnection, database: Database, values: Values) -> None:
    with suppress(RequestInFlight):
        await _idempotency(database, values).run(_REQUEST, pb.CreateSessionResponse, _refused)


async def _nothing(_: AsyncConnection) -> pb.CreateSessionResponse:
    return pb.CreateSessionResponse()


def _run(_connection: AsyncConnection, database: Database, values: Values) -> Awaitable[Any]:
    return _idempotency(database, values).run(_REQUEST, pb.CreateSessionResponse, _nothing)


def _remembered(_connection: AsyncConnection, database: Database, values: Values) -> Awaitable[Any]:
    return _idempotency(database, values).remembered(_REQUEST, pb.CreateSessionResponse)


IDEMPOTENCY: Final = (
    # Claims the key, and keeps the answer.
    Example("idempotency.claim", _run),
    Example("idempotency.find", _remembered),
    Example("idempotency.release", _refuse),
)
