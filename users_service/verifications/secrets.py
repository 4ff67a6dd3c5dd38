"""Secrets of verifications, codes and tokens: generating, parsing, and the keyed hash that is stored instead."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from chassis.contract.ids import SUFFIX_PATTERN
from chassis.keyring import Keyring
from users_service.errors import VerificationInvalid
from users_service.users.email import normalize
from users_service.verifications.model import Purpose, SecretKind

CODE_DIGITS: Final = 6
TOKEN_BYTES: Final = 32
ID_PREFIX: Final = "vrf_"

# The 26 characters of the id find the row; 256 random bits are the secret.
_TOKEN = re.compile(rf"(?P<id>{SUFFIX_PATTERN})\.(?P<secret>[A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, slots=True)
class Code:
    """A code as the end user typed it, with the address it was made for in its normalised form."""

    identifier: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that the end user entered, split into its parts."""

    id: str
    secret: str = field(repr=False)


def code(identifier: str, typed: str) -> Code:
    """Read a code. Raises InvalidFields where the address is too long."""
    return Code(normalize(identifier, "secret.code.identifier"), typed)


def token(text: str) -> Token:
    """Split a token into its parts. Raises VerificationInvalid where it is malformed."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise VerificationInvalid
    return Token(ID_PREFIX + match["id"], match["secret"])


def generate(kind: SecretKind) -> str:
    """Draw the secret: 6 digits, or 256 bits in base64url."""
    if kind is SecretKind.CODE:
        return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    return secrets.token_urlsafe(TOKEN_BYTES)


def shown(id_: str, kind: SecretKind, secret: str) -> str:
    """Return the text for the end user: the code, or the token of id and secret."""
    return secret if kind is SecretKind.CODE else f"{id_.removeprefix(ID_PREFIX)}.{secret}"


class SecretHasher:
    """HMAC-SHA-256 over a secret and the purpose, identifier, kind and user that it belongs to, in hexadecimal.

    It is keyed, so that nobody can find six digits from a copy of the table, and bound to its row, so that a hash is
    of no use in another one. The newest key hashes; hashes of all keys are accepted.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keys = tuple(keyring.mac("verifications").keys.values())

    def hash(self, purpose: Purpose, identifier: str, kind: SecretKind, secret: str, user_id: str = "") -> str:
        """Return the hash to store."""
        return self.candidates(purpose, identifier, kind, secret, user_id)[0]

    def candidates(
        self, purpose: Purpose, identifier: str, kind: SecretKind, secret: str, user_id: str = ""
    ) -> list[str]:
        """Return the hashes that may be stored for the secret: one for each key."""
        of_user = (user_id,) if user_id else ()
        message = _message(purpose, identifier, kind, secret, *of_user)
        return [hmac.digest(key, message, "sha256").hex() for key in self._keys]


def _message(*parts: str) -> bytes:
    # Lengths separate the parts, whatever they contain.
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])
