"""Argon2id (RFC 9106) of one lane by libsodium, which uses the widest instructions that the processor has."""

from __future__ import annotations

import os
from typing import Final

from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13, sodium_memcmp
from nacl.exceptions import RuntimeError as DerivationFailed

from users_service.passwords.formats import Argon2, encode_argon2id

# The only length that libsodium takes, and what RFC 9106 recommends.
SALT_BYTES: Final = 16
DIGEST_BYTES: Final = 32
# libsodium derives nothing shorter.
SHORTEST_DIGEST: Final = 16


def hash_password(password: bytes, memory_kib: int, passes: int) -> str:
    """Return the hash to store, with a new salt, in the form of the reference implementation."""
    salt = os.urandom(SALT_BYTES)
    return encode_argon2id(memory_kib, passes, salt, _derive(password, memory_kib, passes, salt, DIGEST_BYTES))


def can_verify(stored: Argon2) -> bool:
    """Whether libsodium derives hashes of this kind; it knows version 1.3 and one lane."""
    of_its_kind = (stored.variant, stored.version, stored.lanes) == ("id", 19, 1)
    return of_its_kind and len(stored.salt) == SALT_BYTES and len(stored.digest) >= SHORTEST_DIGEST


def matches(stored: Argon2, password: bytes) -> bool:
    """Derive the digest anew and compare in constant time."""
    derived = _derive(password, stored.memory_kib, stored.passes, stored.salt, len(stored.digest))
    return sodium_memcmp(derived, stored.digest)


def _derive(password: bytes, memory_kib: int, passes: int, salt: bytes, length: int) -> bytes:
    try:
        return crypto_pwhash_alg(length, password, salt, passes, memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13)
    except DerivationFailed:
        # Wrong parameters were refused before, so only memory can be missing.
        raise MemoryError from None
