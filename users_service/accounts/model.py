"""The rows of ``accounts`` as the code knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

# The provider under which the password is kept; its account_id is the user's own id.
CREDENTIAL: Final = "credential"


@dataclass(frozen=True, slots=True)
class Account:
    """One way of one user to sign in, as stored: tokens encrypted, the password hashed. Times are in UTC."""

    id: str
    user_id: str
    account_id: str
    provider: str
    scope: str | None
    # Seconds since 1970.
    expires_at: int | None
    refresh_token_expires_at: int | None
    # The key of the three tokens; None with tokens: the source's own system wrote them in plain text.
    token_key_id: str | None
    revision: int
    created_at: datetime
    updated_at: datetime
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def has_tokens(self) -> bool:
        """Whether the provider's tokens are kept."""
        return any(token is not None for token in (self.access_token, self.refresh_token, self.id_token))

    @property
    def signs_in(self) -> bool:
        """Whether the user can sign in with it: not with a credential that lost its password."""
        return self.provider != CREDENTIAL or self.password is not None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider issued, in plain text; None and empty: not given."""

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    # Seconds since 1970.
    expires_at: int | None = None
    refresh_token_expires_at: int | None = None
    scope: str | None = None
