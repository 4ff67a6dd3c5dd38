"""The formats of stored password hashes: how each is written, and what verifying one costs.

Every hash can be verified. Whoever imports a hash decides what each later sign-in costs, so ``bearable`` says whether
it may be imported.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TypeAlias

# Limits on imports: about a second of a core and 256 MiB at the very most.
ARGON2_MEMORY_KIB = 262_144
ARGON2_WORK_KIB = 1_048_576
ARGON2_LANES = 16
BCRYPT_COST = 14
SCRYPT_BLOCKS = 2_097_152
SCRYPT_MEMORY = 268_435_456

ARGON2 = re.compile(
    r"\$argon2(id|i|d)\$(?:v=(16|19)\$)?m=([1-9]\d{0,8}),t=([1-9]\d{0,8}),p=([1-9]\d{0,4})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{0,86})\$([A-Za-z0-9+/]{22,86})")
BETTER_AUTH = re.compile(r"([0-9a-fA-F]{16,64}):([0-9a-fA-F]{128})")


@dataclass(frozen=True, slots=True)
class Argon2:
    """Argon2 in the encoding of its reference implementation, any variant."""

    encoded: str = field(repr=False)
    variant: str
    version: int
    memory_kib: int
    passes: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def bearable(self) -> bool:
        """Whether memory, passes and lanes are within the limits."""
        return (
            8 * self.lanes <= self.memory_kib <= ARGON2_MEMORY_KIB
            and self.passes <= ARGON2_WORK_KIB // self.memory_kib
            and self.lanes <= ARGON2_LANES
        )


@dataclass(frozen=True, slots=True)
class Bcrypt:
    """bcrypt as `$2a$`, `$2b$` or `$2y$`."""

    encoded: str = field(repr=False)
    cost: int

    @property
    def bearable(self) -> bool:
        """Whether the rounds (2 to the power of the cost) are within the limit."""
        return 4 <= self.cost <= BCRYPT_COST


@dataclass(frozen=True, slots=True)
class Scrypt:
    """scrypt (RFC 7914) with its parameters spelled out."""

    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def bearable(self) -> bool:
        """Whether memory and the number of mixed blocks are within the limits."""
        sound = self.n >= 2 and self.r >= 1 and self.p >= 1
        return sound and self.memory <= SCRYPT_MEMORY and self.n * self.r * self.p <= SCRYPT_BLOCKS

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return 128 * self.r * (self.n + self.p + 2)


Hash: TypeAlias = Argon2 | Bcrypt | Scrypt


def parse(stored: str) -> Hash | None:
    """Return the hash that ``stored`` encodes, or None for a format that is not known."""
    return _argon2(stored) or _bcrypt(stored) or _scrypt(stored) or _better_auth(stored)


def encode_argon2id(memory_kib: int, passes: int, salt: bytes, digest: bytes) -> str:
    """Return the stored form of a hash of one lane: that of the reference implementation."""
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${_without_padding(salt)}${_without_padding(digest)}"


def _argon2(stored: str) -> Argon2 | None:
    found = ARGON2.fullmatch(stored)
    if not found:
        return None
    salt, digest = _unpadded(found[6]), _unpadded(found[7])
    if salt is None or digest is None:
        return None
    # A hash without a version is of version 1.0, which did not write it.
    version = int(found[2] or 16)
    return Argon2(stored, found[1], version, int(found[3]), int(found[4]), int(found[5]), salt, digest)


def _bcrypt(stored: str) -> Bcrypt | None:
    found = BCRYPT.fullmatch(stored)
    return Bcrypt(stored, int(found[1])) if found else None


def _scrypt(stored: str) -> Scrypt | None:
    """Read the form of passlib and of the modular crypt format: base64 without padding."""
    found = SCRYPT.fullmatch(stored)
    if not found:
        return None
    salt, digest = _unpadded(found[4]), _unpadded(found[5])
    if salt is None or digest is None:
        return None
    return Scrypt(1 << int(found[1]), int(found[2]), int(found[3]), salt, digest)


def _better_auth(stored: str) -> Scrypt | None:
    """Read Better Auth's form: fixed parameters; the salt is its hexadecimal text, not the bytes it stands for."""
    found = BETTER_AUTH.fullmatch(stored)
    return Scrypt(16_384, 16, 1, found[1].encode(), bytes.fromhex(found[2])) if found else None


def _unpadded(encoded: str) -> bytes | None:
    """Decode base64 without padding; None where it is not the one way to write its bytes."""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return None
    return decoded if _without_padding(decoded) == encoded else None


def _without_padding(decoded: bytes) -> str:
    return base64.b64encode(decoded).decode().rstrip("=")
