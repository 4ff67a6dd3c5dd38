"""Databases of other systems for tests of their adoption, and what must be true of one that was adopted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from click.testing import CliRunner, Result
from vibework.users.v1 import account_service_pb2, session_service_pb2, user_service_pb2

from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.statements import query
from tests.harness.users import SECRET_KEYS, BlockingStubs, users_service
from users_service.cli import main

HERE: Final = Path(__file__).parent
FAR: Final = "UTC_TIMESTAMP(3) + INTERVAL 6 DAY"


@dataclass(frozen=True)
class Person:
    """A made-up person, and what the person knows of the time before."""

    id: str
    email: str
    password: str = ""
    tokens: list[str] = field(default_factory=list)
    # The id of the account at a provider.
    account: str = ""


def run(database: MySQLDatabase, *arguments: str, **environment: str) -> Result:
    """Run `users-service …` with keys."""
    return CliRunner().invoke(
        main, arguments, env={"SECRET_KEYS": SECRET_KEYS, **database.environment(), **environment}
    )


def rows(database: MySQLDatabase, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the database and return the rows."""
    return in_own_thread(partial(query, database, statement))


def content(database: MySQLDatabase) -> dict[str, Any]:
    """Return everything that a refused command must leave as it was."""
    names = [str(name) for (name,) in rows(database, "SHOW TABLES")]
    made = {name: rows(database, f"SHOW CREATE TABLE `{name}`") for name in names}
    held = {name: sorted(map(repr, rows(database, f"SELECT * FROM `{name}`"))) for name in names}
    return {name: (made[name], held[name]) for name in names}


def better_auth(database: MySQLDatabase) -> list[Person]:
    """Make the database that Better Auth made once; its sessions are open now."""
    for statement in (HERE / "better_auth.sql").read_text().split(";\n"):
        if statement.strip():
            rows(database, statement)
    rows(database, f"UPDATE session SET expiresAt = {FAR}")
    return people(json.loads((HERE / "better_auth.json").read_text()))


def people(told: list[dict[str, Any]]) -> list[Person]:
    """Return the people that better_auth/make.mjs tells of."""
    return [Person(**each) for each in told]


def refused(result: Result) -> str:
    """Return the one line with which a command failed."""
    assert result.exit_code == 1, result.output
    assert len(result.output.splitlines()) == 1, result.output
    return result.output


def assert_adopted(database: MySQLDatabase, everybody: list[Person]) -> None:
    """Everybody signs in as before, open sessions are valid, tokens of providers are readable, and sealed."""
    with users_service(database) as served, served.channel() as channel:
        stubs = BlockingStubs.on(channel)
        for person in everybody:
            _assert_valid(stubs, person)
            _assert_signs_in(stubs, person)
            if person.account:
                _assert_tokens(stubs, person)
    sealed = rows(database, "SELECT access_token, token_key_id FROM accounts WHERE access_token IS NOT NULL")
    assert all(key == "test-key" and "access-token" not in token for token, key in sealed)


def _assert_valid(stubs: BlockingStubs, person: Person) -> None:
    for token in person.tokens:
        valid = stubs.sessions.ValidateSession(session_service_pb2.ValidateSessionRequest(session_token=token))
        assert valid.session.user_id == person.id
        assert token not in str(valid.session)


def _assert_signs_in(stubs: BlockingStubs, person: Person) -> None:
    if not person.password:
        return
    asked = partial(session_service_pb2.SignInRequest, email=person.email)
    assert stubs.sessions.SignIn(asked(password=person.password)).user.id == person.id
    # The hash is of our own kind by now.
    assert stubs.sessions.SignIn(asked(password=person.password)).user.id == person.id
    with pytest.raises(grpc.RpcError) as refusal:
        stubs.sessions.SignIn(asked(password=person.password + "x"))
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def _assert_tokens(stubs: BlockingStubs, person: Person) -> None:
    listed = stubs.accounts.ListAccounts(account_service_pb2.ListAccountsRequest(user_id=person.id)).accounts
    (account,) = [each for each in listed if each.account_id == person.account]
    name = person.account.partition("-")[2]
    asked = account_service_pb2.GetAccountTokensRequest(user_id=person.id, id=account.id)
    tokens = stubs.accounts.GetAccountTokens(asked).tokens
    assert (tokens.access_token, tokens.refresh_token) == (f"access-token-of-{name}", f"refresh-token-of-{name}")
    assert tokens.id_token == f"id-token-of-{name}"
    assert tokens.access_token_expires_at.seconds == 1_893_456_000
    user = stubs.users.GetUser(user_service_pb2.GetUserRequest(id=person.id)).user
    assert user.email == person.email
