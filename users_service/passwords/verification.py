"""Verification of a password against a stored hash; the library of a format is loaded when it is needed."""

from __future__ import annotations

from users_service.passwords import argon2id, formats
from users_service.passwords.formats import Argon2, Bcrypt, Hash, Scrypt

# bcrypt reads no further; systems that hashed longer passwords cut them here.
BCRYPT_BYTES = 72


def matches(stored: str, password: bytes) -> bool:
    """Whether ``stored`` is a hash of ``password``; a hash of an unknown format matches nothing."""
    found = formats.parse(stored)
    return found is not None and is_hash_of(found, password)


def is_hash_of(found: Hash, password: bytes) -> bool:
    """Verify with the hash's own parameters."""
    match found:
        case Argon2():
            return argon2id.matches(found, password) if argon2id.can_verify(found) else _argon2(found, password)
        case Bcrypt():
            return _bcrypt(found, password)
        case Scrypt():
            return _scrypt(found, password)


def _argon2(found: Argon2, password: bytes) -> bool:
    """Verify with libsodium, or with the reference implementation where libsodium does not know the variant."""
    import argon2

    try:
        return argon2.PasswordHasher().verify(found.encoded, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.VerificationError:
        # Wrong parameters were refused before, so only memory, or the threads of its lanes, can be missing.
        raise MemoryError from None


def _bcrypt(found: Bcrypt, password: bytes) -> bool:
    import bcrypt

    return bcrypt.checkpw(password[:BCRYPT_BYTES], found.encoded.encode())


def _scrypt(found: Scrypt, password: bytes) -> bool:
    import hashlib
    import hmac

    derived = hashlib.scrypt(
        password, salt=found.salt, n=found.n, r=found.r, p=found.p, dklen=len(found.digest), maxmem=2 * found.memory
    )
    return hmac.compare_digest(derived, found.digest)
