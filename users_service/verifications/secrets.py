"""Codes and tokens: making them, reading them back, and the keyed hash that is stored instead of them."""

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

# The id's 26 characters find the row, 256 random bits prove the right to it.
_TOKEN = re.compile(rf"(?P<id>{SUFFIX_PATTERN})\.(?P<secret>[A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, slots=True)
class Code:
    """A code as the end user typed it, with the address it was made for in its normalised form."""

    identifier: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the end user gave it back, taken apart."""

    id: str
    secret: str = field(repr=False)


def code(identifier: str, typed: str) -> Code:
    """Read a code. Raises InvalidFields where the address is too long."""
    return Code(normalize(identifier, "secret.code.identifier"), typed)


def token(text: str) -> Token:
    """Take a token apart. Raises VerificationInvalid where it cannot be one."""
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
    """Return what the end user gets to see: the code, or the secret behind the id that finds it."""
    return secret if kind is SecretKind.CODE else f"{id_.removeprefix(ID_PREFIX)}.{secret}"


class SecretHasher:
    """HMAC-SHA-256 over what a secret is for and the secret itself, in hexadecimal.

    Keyed, so that a copy of the table does not give away six digits; bound to purpose, identifier and kind, so that
    a hash moved to another row is of no use there. The first key hashes; any key's hash is accepted.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keys = tuple(keyring.mac("verifications").keys.values())

    def hash(self, purpose: Purpose, identifier: str, kind: SecretKind, secret: str) -> str:
        """Return the hash to store."""
        return self.candidates(purpose, identifier, kind, secret)[0]

    def candidates(self, purpose: Purpose, identifier: str, kind: SecretKind, secret: str) -> list[str]:
        """Return what may be stored for the secret, under the newest key and those before it."""
        message = _message(purpose, identifier, kind, secret)
        return [hmac.digest(key, message, "sha256").hex() for key in self._keys]


def _message(*parts: str) -> bytes:
    # Lengths keep the parts apart, whatever they contain.
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])
