"""An attempt: a secret that the end user entered, and for whom and from where it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from users_service.attempts import actions
from users_service.attempts.limiter import Subject, account, address
from users_service.verifications.model import Purpose, SecretKind
from users_service.verifications.secrets import Code, Token


@dataclass(frozen=True, slots=True)
class Attempt:
    """A secret that the end user entered, and the client's address."""

    purpose: Purpose
    secret: Code | Token
    ip_address: str
    # For whom it must have been made; empty: for no particular user.
    user_id: str = ""

    @property
    def kind(self) -> SecretKind:
        """The form of the secret."""
        return SecretKind.CODE if isinstance(self.secret, Code) else SecretKind.TOKEN

    @property
    def subjects(self) -> Sequence[Subject]:
        """The subjects of the rate limit: of a token, which cannot be guessed, the client's address alone.

        A code counts for its address and not for a user, so that many users have no more guesses at one mailbox.
        """
        identifier = self.secret.identifier if isinstance(self.secret, Code) else ""
        action = actions.consume_verification(self.purpose)
        return account(action, identifier), address(action, self.ip_address)
