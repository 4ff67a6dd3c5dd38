"""Nothing that is secret is found in a table or in the log, whatever was called and however it ended."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from vibework.users.v1 import account_service_pb2 as pb
from vibework.users.v1 import verification_service_pb2 as verifications_pb

from chassis.logs import logging
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import until
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import (
    link,
    new_email,
    outcome,
    provider_account,
    secret_of,
    sign_in_request,
    tokens_of,
    verification,
    wrong,
)
from users_service.tables import metadata

OLD, NEW, NEWEST = "an old and secret password", "a new and secret password", "the newest secret password"
TOKENS = {name: f"secret-{name}-of-a-provider" for name in ("access_token", "refresh_token", "id_token")}
PASSWORD_RESET = verifications_pb.VERIFICATION_PURPOSE_PASSWORD_RESET


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """Everything that is logged meanwhile, at the most talkative level."""
    stream = io.BytesIO()
    sink = logging.configure("debug", "json", stream)
    yield stream
    sink.flush()


@pytest.fixture
def logged_server(log: io.BytesIO, mysql_database: MySQLDatabase) -> Iterator[UsersServer]:
    """A server that writes to that log from its first line on."""
    with users_service(mysql_database) as served:
        yield served


@pytest_asyncio.fixture
async def users(logged_server: UsersServer) -> AsyncIterator[Stubs]:
    """The stubs of that server."""
    async with logged_server.aio_channel() as channel:
        yield Stubs.on(channel)


def everything_in(server: UsersServer) -> str:
    """Return the contents of every table as one text."""
    rows = [server.rows(f"SELECT * FROM {table}") for table in metadata.tables]
    return "\n".join(repr(row) for table in rows for row in table)


def disguises(secret: str) -> set[str]:
    """Return forms in which a careless hand might store a secret."""
    raw = secret.encode()
    return {secret, raw.hex(), base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode()}


async def test_no_secret_is_in_a_table_or_in_the_log(users: Stubs, logged_server: UsersServer, log: io.BytesIO) -> None:
    """Passwords, provider tokens, session tokens, codes and links, after calls that succeed and calls that fail."""
    email = new_email()
    account = provider_account("", **TOKENS)
    signed_in = await users.accounts.SignInWithAccount(sign_in_request(account, email))
    user_id = signed_in.user.id
    await tokens_of(users, signed_in.account)
    assert await outcome(link(users, user_id, account)) == "ACCOUNT_ALREADY_LINKED"
    await users.accounts.SetPassword(pb.SetPasswordRequest(user_id=user_id, password=OLD))
    for current in (OLD, OLD):
        change = pb.ChangePasswordRequest(
            user_id=user_id, current_password=current, new_password=NEW, session_token=signed_in.session_token
        )
        assert await outcome(users.accounts.ChangePassword(change)) in {"OK", "CREDENTIALS_INVALID"}
    request_id = "7f3c0f5e-3d0a-4f6e-8a51-3f1a86a3b1a1"
    token = await verification(
        users, PASSWORD_RESET, email, verifications_pb.VERIFICATION_KIND_TOKEN, request_id=request_id
    )
    for given in (wrong(token), secret_of(token), secret_of(token)):
        reset = verifications_pb.ResetPasswordRequest(secret=given, new_password=NEWEST)
        assert await outcome(users.verifications.ResetPassword(reset)) in {"OK", "VERIFICATION_INVALID"}
    logged_server.rows("UPDATE accounts SET refresh_token = access_token WHERE id = %s", signed_in.account.id)
    assert await outcome(tokens_of(users, signed_in.account)) == "RECORD_UNREADABLE"

    secrets = [OLD, NEW, NEWEST, *TOKENS.values(), signed_in.session_token, token.secret.partition(".")[2]]
    # The log is written in batches; the reason is in the line of the last call alone.
    await until(lambda: b"RECORD_UNREADABLE" in log.getvalue(), "the log")
    stored, logged = everything_in(logged_server), log.getvalue().decode()
    assert user_id in stored
    assert "RECORD_UNREADABLE" in logged
    assert "AccountService/ChangePassword" in logged
    for secret in secrets:
        for form in disguises(secret):
            assert form not in stored
            assert form not in logged


async def test_a_code_is_stored_as_a_keyed_hash_only(users: Stubs, logged_server: UsersServer) -> None:
    """Six digits are found by chance in any dump, so the row itself is looked at: a hash, not one that all can make."""
    created = await verification(users, PASSWORD_RESET, new_email())
    rows = logged_server.rows("SELECT value FROM verifications WHERE id = %s", created.verification.id)
    assert len(bytes.fromhex(rows[0][0])) == 32
    plain = [f"{created.secret}{salt}" for salt in ("", created.verification.id, created.verification.identifier)]
    assert rows[0][0] not in [hashlib.sha256(text.encode()).hexdigest() for text in plain]
