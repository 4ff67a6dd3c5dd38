"""Conversion of accounts to messages of the contract, and of requests to the model."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import account_service_pb2 as pb

from chassis.contract.timestamps import assign
from chassis.errors import InvalidFields
from users_service.accounts.expiry import stored_seconds
from users_service.accounts.model import (
    Account,
    NewAccount,
    PasswordChange,
    Profile,
    ProviderSignedIn,
    SignInRequest,
    Tokens,
)
from users_service.sessions.messages import client_details
from users_service.sessions.messages import fill as fill_session
from users_service.users.messages import fill as fill_user


def fill(target: pb.Account, account: Account) -> None:
    """Write an account into a message: never its tokens or its password's hash."""
    target.id = account.id
    target.user_id = account.user_id
    target.provider = account.provider
    target.account_id = account.account_id
    target.scope = account.scope or ""
    _assign_seconds(target.access_token_expires_at, account.expires_at)
    _assign_seconds(target.refresh_token_expires_at, account.refresh_token_expires_at)
    assign(target.created_at, account.created_at)
    assign(target.updated_at, account.updated_at)
    target.etag = account.etag


def fill_tokens(target: pb.AccountTokens, tokens: Tokens) -> None:
    """Write tokens, in plain text, into a message."""
    target.access_token = tokens.access_token or ""
    target.refresh_token = tokens.refresh_token or ""
    target.id_token = tokens.id_token or ""
    _assign_seconds(target.access_token_expires_at, tokens.expires_at)
    _assign_seconds(target.refresh_token_expires_at, tokens.refresh_token_expires_at)
    target.scope = tokens.scope or ""


def fill_signed_in(target: pb.SignInWithAccountResponse, signed_in: ProviderSignedIn) -> None:
    """Write the outcome of a sign-in into its response."""
    found = signed_in.found
    fill_user(target.user, found.user)
    fill(target.account, found.account)
    fill_session(target.session, signed_in.session, signed_in.now)
    target.session_token = signed_in.token
    target.user_created = found.user_created
    target.account_linked = found.account_linked


def sign_in_of(request: pb.SignInWithAccountRequest) -> SignInRequest:
    """Read a request to sign in with a provider account. Raises InvalidFields."""
    profile = Profile(request.email, request.email_verified, request.name, request.image)
    return SignInRequest(
        new_account_of(request.account), profile, client_details(request.client), request.do_not_remember
    )


def change_of(request: pb.ChangePasswordRequest) -> PasswordChange:
    """Read a change of password."""
    return PasswordChange(
        user_id=request.user_id,
        current=request.current_password,
        new=request.new_password,
        session_token=request.session_token,
        ip_address=request.client.ip_address,
    )


def new_account_of(message: pb.ProviderAccount) -> NewAccount:
    """Read an account at a provider. Raises InvalidFields."""
    if message.account_id != message.account_id.rstrip(" "):
        # To the database "1" and "1 " are equal.
        raise InvalidFields.of("account.account_id", "must not end in a space", "STRING_TRAILING_SPACE")
    return NewAccount(message.provider, message.account_id, tokens_of(message.tokens))


def tokens_of(message: pb.AccountTokens) -> Tokens:
    """Read tokens; an empty or unset one counts as not given."""
    return Tokens(
        access_token=message.access_token or None,
        refresh_token=message.refresh_token or None,
        id_token=message.id_token or None,
        expires_at=_seconds(message, "access_token_expires_at"),
        refresh_token_expires_at=_seconds(message, "refresh_token_expires_at"),
        scope=message.scope or None,
    )


def _seconds(message: pb.AccountTokens, name: str) -> int | None:
    return getattr(message, name).seconds if message.HasField(name) else None  # type: ignore[arg-type]


def _assign_seconds(target: Timestamp, stored: int | None) -> None:
    if (seconds := stored_seconds(stored)) is not None:
        target.seconds = seconds
        target.SetInParent()
