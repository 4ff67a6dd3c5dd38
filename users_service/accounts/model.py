"""The rows of ``accounts`` as the code knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from chassis.contract import etags
from users_service.credentials.model import CREDENTIAL
from users_service.sessions.model import ClientDetails, Session
from users_service.users.model import User


@dataclass(frozen=True, slots=True)
class Account:
    """One way of one user to sign in, as stored: tokens encrypted, the password left out. Times are in UTC."""

    id: str
    user_id: str
    account_id: str
    provider: str
    scope: str | None
    # Seconds since 1970.
    expires_at: int | None
    refresh_token_expires_at: int | None
    # The key of the three tokens. None although there are tokens: the source's own system wrote them in plain text.
    token_key_id: str | None
    revision: int
    created_at: datetime
    updated_at: datetime
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    # The address, normalised, that the provider last said it has verified.
    verified_email: str | None = None
    has_password: bool = False

    @property
    def etag(self) -> str:
        """Say which state of the account this is (AIP-154)."""
        return etags.write(self.revision)

    @property
    def has_tokens(self) -> bool:
        """Whether the provider's tokens are kept."""
        return any(token is not None for token in (self.access_token, self.refresh_token, self.id_token))

    @property
    def signs_in(self) -> bool:
        """Whether the user can sign in with it; a credential without a password does not count."""
        return self.provider != CREDENTIAL or self.has_password


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a provider issued, in plain text; None and empty mean not given."""

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    # Seconds since 1970.
    expires_at: int | None = None
    refresh_token_expires_at: int | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account at a provider, verified by the caller, to be linked or to sign in with."""

    provider: str
    account_id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile that a provider returns of its user."""

    email: str
    # Whether the provider verified the address.
    email_verified: bool
    name: str
    image: str


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """A sign-in with a provider account, as requested."""

    account: NewAccount
    profile: Profile
    client: ClientDetails
    do_not_remember: bool


@dataclass(frozen=True, slots=True)
class MatchedAccount:
    """The account that signs in, its user, and whether one of them was created for it."""

    user: User
    account: Account
    user_created: bool = False
    account_linked: bool = False


@dataclass(frozen=True, slots=True)
class ProviderSignedIn:
    """The outcome of a sign-in with a provider account."""

    found: MatchedAccount
    session: Session
    token: str = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """A change of password, as requested."""

    user_id: str
    current: str = field(repr=False)
    new: str = field(repr=False)
    # Of the session to keep; empty: none.
    session_token: str = field(repr=False)
    ip_address: str
