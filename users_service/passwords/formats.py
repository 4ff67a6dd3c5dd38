"""The formats of stored password hashes: how each is recognised, what it costs, and how it is verified.

Every hash can be verified; ``bearable`` tells whether one that a caller wants to import may be, since whoever
imports it chooses what each later sign-in costs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Protocol

import argon2
import bcrypt

# Limits on imports: about a second of a core and 256 MiB at the very most.
ARGON2_MEMORY_KIB = 262_144
ARGON2_WORK_KIB = 1_048_576
ARGON2_LANES = 16
BCRYPT_COST = 14
SCRYPT_BLOCKS = 2_097_152
SCRYPT_MEMORY = 268_435_456

# bcrypt reads no further; systems that hashed longer passwords cut them here.
BCRYPT_BYTES = 72

ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$(?:v=(?:16|19)\$)?m=[1-9]\d{0,8},t=[1-9]\d{0,8},p=[1-9]\d{0,4}"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{0,86})\$([A-Za-z0-9+/]{22,86})")
BETTER_AUTH = re.compile(r"([0-9a-fA-F]{16,64}):([0-9a-fA-F]{128})")


class Hash(Protocol):
    """One stored hash."""

    @property
    def bearable(self) -> bool:
        """Whether verifying it costs no more than an import may."""

    def matches(self, password: str) -> bool:
        """Whether it is the hash of the password."""


@dataclass(frozen=True, slots=True)
class Argon2:
    """Argon2 in the encoding of its reference implementation, any variant."""

    encoded: str

    @property
    def bearable(self) -> bool:
        """Within the limits of memory, passes over it, and lanes."""
        cost = argon2.extract_parameters(self.encoded)
        return (
            8 * cost.parallelism <= cost.memory_cost <= ARGON2_MEMORY_KIB
            and 1 <= cost.time_cost <= ARGON2_WORK_KIB // cost.memory_cost
            and 1 <= cost.parallelism <= ARGON2_LANES
        )

    def matches(self, password: str) -> bool:
        """Verify with the hash's own parameters."""
        try:
            return argon2.PasswordHasher().verify(self.encoded, password)
        except argon2.exceptions.VerifyMismatchError:
            return False


@dataclass(frozen=True, slots=True)
class Bcrypt:
    """bcrypt as `$2a$`, `$2b$` or `$2y$`."""

    encoded: str
    cost: int

    @property
    def bearable(self) -> bool:
        """Within the limit of rounds (2 to the cost)."""
        return 4 <= self.cost <= BCRYPT_COST

    def matches(self, password: str) -> bool:
        """Verify what bcrypt reads of the password."""
        return bcrypt.checkpw(password.encode()[:BCRYPT_BYTES], self.encoded.encode())


@dataclass(frozen=True, slots=True)
class Scrypt:
    """scrypt (RFC 7914) with its parameters spelled out."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @property
    def bearable(self) -> bool:
        """Within the limits of memory and of blocks mixed."""
        sound = self.n >= 2 and self.r >= 1 and self.p >= 1
        return sound and self._memory <= SCRYPT_MEMORY and self.n * self.r * self.p <= SCRYPT_BLOCKS

    @property
    def _memory(self) -> int:
        return 128 * self.r * (self.n + self.p + 2)

    def matches(self, password: str) -> bool:
        """Derive the digest anew and compare in constant time."""
        derived = hashlib.scrypt(
            password.encode(),
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            dklen=len(self.digest),
            maxmem=2 * self._memory,
        )
        return hmac.compare_digest(derived, self.digest)


def parse(stored: str) -> Hash | None:
    """Return the hash that ``stored`` encodes, or None for a format that is not known."""
    return _argon2(stored) or _bcrypt(stored) or _scrypt(stored) or _better_auth(stored)


def matches(stored: str, password: str) -> bool:
    """Whether ``stored`` is a hash of ``password``; nothing matches a format that is not known."""
    found = parse(stored)
    return found is not None and found.matches(password)


def _argon2(stored: str) -> Argon2 | None:
    found = ARGON2.fullmatch(stored)
    if not found or None in (_unpadded(found[1]), _unpadded(found[2])):
        return None
    return Argon2(stored)


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
    return decoded if base64.b64encode(decoded).decode().rstrip("=") == encoded else None
