"""The formats of stored password hashes: how each is written, and what verifying one costs.

A text is a hash only where it is the one way to write it: otherwise the library that derives it anew would get another
text, which never matches. Whoever stores a hash decides what each later sign-in costs, so ``bearable`` says whether it
is borne.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TypeAlias

# Limits on imports: about a second of a core and 256 MiB at the very most, whatever the machine has.
ARGON2_MEMORY_KIB = 262_144
ARGON2_WORK_KIB = 1_048_576
ARGON2_LANES = 16
BCRYPT_COST = 14
# What bcrypt takes, in bytes.
BCRYPT_MEMORY = 4_096
# About what Argon2 writes in the time of a round of bcrypt, and of two blocks of scrypt.
BCRYPT_ROUND_KIB = 64
SCRYPT_BLOCKS_PER_KIB = 2
SCRYPT_BLOCKS = 2_097_152
SCRYPT_MEMORY = 268_435_456
# RFC 7914, 6: N is less than 2 to the power of this many times r.
SCRYPT_BITS = 16

ARGON2 = re.compile(
    r"\$argon2(id|i|d)\$(?:v=(16|19)\$)?m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,8}),p=([1-9][0-9]{0,4})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
# The last characters of the salt and of the hash have four and two bits that are unused, and zero.
BCRYPT = re.compile(r"\$2[aby]\$([0-9][0-9])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
SCRYPT = re.compile(
    r"\$scrypt\$ln=([1-9]?[0-9]),r=([1-9][0-9]{0,2}),p=([1-9][0-9]{0,2})"
    r"\$([A-Za-z0-9+/]{0,86})\$([A-Za-z0-9+/]{22,86})"
)
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

    def bearable(self, times: int = 1) -> bool:
        """Whether it can be computed, within so many ``times`` the limits of an import."""
        return (
            8 * self.lanes <= self.memory_kib <= times * ARGON2_MEMORY_KIB
            and self.passes <= times * ARGON2_WORK_KIB // self.memory_kib
            and self.lanes <= ARGON2_LANES
        )

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return self.memory_kib * 1024

    @property
    def work_kib(self) -> int:
        """What it takes of time, as the KiB that Argon2 writes in it."""
        return self.memory_kib * self.passes

    @property
    def kind(self) -> tuple[object, ...]:
        """All that the libraries may not bear: a machine that verifies one of a kind verifies all."""
        sizes = len(self.salt), len(self.digest)
        return (self.variant, self.version, self.memory_kib, self.passes, self.lanes, *sizes)


@dataclass(frozen=True, slots=True)
class Bcrypt:
    """bcrypt as `$2a$`, `$2b$` or `$2y$`."""

    encoded: str = field(repr=False)
    cost: int

    def bearable(self, times: int = 1) -> bool:
        """Whether the rounds (2 to the power of the cost) are within so many ``times`` the limit of an import."""
        return self.cost >= 4 and 1 << self.cost <= times << BCRYPT_COST

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return BCRYPT_MEMORY

    @property
    def work_kib(self) -> int:
        """As ``Argon2.work_kib``."""
        return BCRYPT_ROUND_KIB << self.cost

    @property
    def kind(self) -> tuple[object, ...]:
        """As ``Argon2.kind``."""
        return self.encoded[:3], self.cost


@dataclass(frozen=True, slots=True)
class Scrypt:
    """scrypt (RFC 7914) with its parameters spelled out."""

    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def bearable(self, times: int = 1) -> bool:
        """Whether it can be computed, within so many ``times`` the limits of an import."""
        sound = 2 <= self.n < 1 << (SCRYPT_BITS * self.r)
        return sound and self.memory <= times * SCRYPT_MEMORY and self.n * self.r * self.p <= times * SCRYPT_BLOCKS

    @property
    def work_kib(self) -> int:
        """As ``Argon2.work_kib``."""
        return self.n * self.r * self.p // SCRYPT_BLOCKS_PER_KIB

    @property
    def kind(self) -> tuple[object, ...]:
        """As ``Argon2.kind``."""
        return "scrypt", self.n, self.r, self.p, len(self.salt), len(self.digest)

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
