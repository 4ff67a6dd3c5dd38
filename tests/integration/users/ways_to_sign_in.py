"""Requests on accounts and verifications, with the values that a test does not care about filled in."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import grpc
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2, user_service_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb

from tests.harness.users import Stubs, reason

PASSWORD = "a password of tests"
# A key that the module's server does not have, as SECRET_KEYS has it.
NEW_KEY = f"new-key:{base64.b64encode(b'n' * 32).decode()}"


def new_email() -> str:
    """Return an address that nobody has."""
    return f"{uuid4().hex}@example.com"


async def outcome(call: Awaitable[Any]) -> str:
    """Return how a call ends: `OK`, or the reason of its error."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "OK"


async def new_user(users: Stubs, *, password: str = "", email: str = "", email_verified: bool = False) -> user_pb2.User:
    """Create a user, without a password unless one is given."""
    request = user_service_pb2.CreateUserRequest(email=email or new_email(), email_verified=email_verified)
    if password:
        request.password = password
    return (await users.users.CreateUser(request)).user


async def new_session(users: Stubs, user_id: str) -> str:
    """Create a session and return its token."""
    return (await users.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user_id))).session_token


async def session_is_valid(users: Stubs, token: str) -> bool:
    """Whether a session token is good."""
    request = sessions_pb.ValidateSessionRequest(session_token=token)
    return await outcome(users.sessions.ValidateSession(request)) == "OK"


async def signs_in(users: Stubs, email: str, password: str) -> str:
    """Sign in with a password, and return how that ends."""
    return await outcome(users.sessions.SignIn(sessions_pb.SignInRequest(email=email, password=password)))


def provider_account(account_id: str = "", provider: str = "google", **tokens: Any) -> accounts_pb.ProviderAccount:
    """Make an account at a provider; `tokens`: fields of AccountTokens."""
    return accounts_pb.ProviderAccount(
        provider=provider, account_id=account_id or uuid4().hex, tokens=accounts_pb.AccountTokens(**tokens)
    )


async def link(
    users: Stubs, user_id: str, account: accounts_pb.ProviderAccount | None = None, request_id: str = ""
) -> accounts_pb.Account:
    """Link an account to a user."""
    request = accounts_pb.LinkAccountRequest(
        user_id=user_id, account=account or provider_account(), request_id=request_id
    )
    return (await users.accounts.LinkAccount(request)).account


async def accounts_of(users: Stubs, user_id: str) -> list[accounts_pb.Account]:
    """List a user's accounts."""
    response = await users.accounts.ListAccounts(accounts_pb.ListAccountsRequest(user_id=user_id, page_size=100))
    return list(response.accounts)


async def tokens_of(users: Stubs, account: accounts_pb.Account) -> accounts_pb.GetAccountTokensResponse:
    """Read an account's tokens."""
    request = accounts_pb.GetAccountTokensRequest(user_id=account.user_id, id=account.id)
    response: accounts_pb.GetAccountTokensResponse = await users.accounts.GetAccountTokens(request)
    return response


def sign_in_request(
    account: accounts_pb.ProviderAccount, email: str, *, verified: bool = True, address: str = ""
) -> accounts_pb.SignInWithAccountRequest:
    """Make a sign-in with a provider account."""
    return accounts_pb.SignInWithAccountRequest(
        account=account,
        email=email,
        email_verified=verified,
        name="Ann",
        client=user_pb2.ClientContext(ip_address=address),
    )


def unlink_request(account: accounts_pb.Account) -> accounts_pb.UnlinkAccountRequest:
    """Make a request to unlink an account."""
    return accounts_pb.UnlinkAccountRequest(user_id=account.user_id, id=account.id)


async def verification(
    users: Stubs,
    purpose: verifications_pb.VerificationPurpose.ValueType,
    identifier: str,
    kind: verifications_pb.VerificationKind.ValueType = verifications_pb.VERIFICATION_KIND_CODE,
    **fields: Any,
) -> verifications_pb.CreateVerificationResponse:
    """Create a verification."""
    request = verifications_pb.CreateVerificationRequest(purpose=purpose, identifier=identifier, kind=kind, **fields)
    response: verifications_pb.CreateVerificationResponse = await users.verifications.CreateVerification(request)
    return response


def secret_of(created: verifications_pb.CreateVerificationResponse) -> verifications_pb.VerificationSecret:
    """Give back the secret of a verification."""
    if created.verification.kind == verifications_pb.VERIFICATION_KIND_TOKEN:
        return verifications_pb.VerificationSecret(token=created.secret)
    return code(created.verification.identifier, created.secret)


def code(identifier: str, digits: str) -> verifications_pb.VerificationSecret:
    """Give back a code."""
    return verifications_pb.VerificationSecret(
        code=verifications_pb.VerificationSecret.CodeSecret(identifier=identifier, code=digits)
    )


def another(digits: str) -> str:
    """Return a code that is not this one."""
    return f"{(int(digits) + 1) % 1_000_000:06}"


def wrong(created: verifications_pb.CreateVerificationResponse) -> verifications_pb.VerificationSecret:
    """Give back a wrong secret of the same form."""
    if created.verification.kind == verifications_pb.VERIFICATION_KIND_TOKEN:
        head, _, tail = created.secret.partition(".")
        return verifications_pb.VerificationSecret(token=f"{head}.{tail[::-1]}")
    return code(created.verification.identifier, another(created.secret))


def consume_request(
    purpose: verifications_pb.VerificationPurpose.ValueType,
    secret: verifications_pb.VerificationSecret,
    address: str = "",
) -> verifications_pb.ConsumeVerificationRequest:
    """Make a request to consume a verification."""
    return verifications_pb.ConsumeVerificationRequest(
        purpose=purpose, secret=secret, client=user_pb2.ClientContext(ip_address=address)
    )
