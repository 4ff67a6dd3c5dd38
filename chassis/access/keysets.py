"""Key sets: the public keys of an issuer of tokens, from a JSON Web Key Set (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# What a key of a kind (and, for elliptic curves, of a curve) can verify. Nothing symmetric: whoever could check such a
# token could make one, and a public key taken for a secret would let everyone make them (RFC 8725, 2.1).
_OF_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVES: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
ALGORITHMS: Final = (*_OF_RSA, *(name for names in _OF_CURVES.values() for name in names))
# NIST SP 800-131A; RFC 7518, 3.3.
SMALLEST_RSA_BITS: Final = 2_048
MOST_BYTES: Final = 256 * 1024
MOST_KEYS: Final = 100

KeySet: TypeAlias = "Mapping[str, PublicKey]"


class KeySetWrong(Exception):
    """A key set cannot be used; the text is one line."""


class PublicKey:
    """One public key. Two are equal when they are the same key under the same name."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.name: str = described["kid"]
        self._described = {name: value for name, value in described.items() if isinstance(value, str)}
        self.algorithms = _algorithms_of(self._described)
        self.public = cache(self._public)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._described == other._described

    def __hash__(self) -> int:
        return hash(self.name)

    def _public(self, algorithm: str) -> Any:
        """Return what the library verifies with; ``algorithm``: one of ``algorithms``."""
        return jwt.PyJWK(self._described, algorithm=algorithm).key


def parse(content: bytes) -> KeySet:
    """Return the keys of a set that can verify signatures, by their ``kid``; others are passed over (RFC 7517, 5).

    Raises KeySetWrong where it is none, has no such key, or two of one name.
    """
    keys: dict[str, PublicKey] = {}
    for described in _described(content):
        if (key := _usable(described)) is not None and keys.setdefault(key.name, key) != key:
            raise KeySetWrong("two keys have one kid")
    if not keys:
        raise KeySetWrong("there is no public key with a kid in it that verifies signatures")
    return keys


def _described(content: bytes) -> Iterator[Mapping[str, Any]]:
    if len(content) > MOST_BYTES:
        raise KeySetWrong("it is larger than 256 KiB")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise KeySetWrong("it is no JSON") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise KeySetWrong("it has no list `keys`, or one of more than 100")
    return (key for key in keys if isinstance(key, dict))


def _usable(described: Mapping[str, Any]) -> PublicKey | None:
    """Return a key that can be verified with; None for others: of encryption, secret, of unknown kinds, too small."""
    name = described.get("kid")
    if not isinstance(name, str) or not name or described.get("use", "sig") != "sig":
        return None
    key = PublicKey(described)
    try:
        public = [key.public(algorithm) for algorithm in key.algorithms]
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if any(isinstance(found, RSAPublicKey) and found.key_size < SMALLEST_RSA_BITS for found in public):
        return None
    return key if public and "d" not in described else None


def _algorithms_of(described: Mapping[str, str]) -> tuple[str, ...]:
    possible: tuple[str, ...] = _OF_RSA if described.get("kty") == "RSA" else ()
    if described.get("kty") in ("EC", "OKP"):
        possible = _OF_CURVES.get(described.get("crv", ""), ())
    declared = described.get("alg")
    return possible if declared is None else tuple(name for name in possible if name == declared)
