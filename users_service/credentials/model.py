"""The credential of a user: the hash of the password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# The provider of the account that holds the password; its account_id is the user's own id.
CREDENTIAL: Final = "credential"


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and the hash of the password, None where there is none."""

    user_id: str
    password_hash: str | None = field(repr=False)
    # Still where the source's own system keeps it, in users.password_hash.
    legacy: bool
