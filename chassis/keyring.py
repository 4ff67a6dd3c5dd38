"""A keyring of named keys: the first encrypts, all decrypt, so that keys rotate without downtime.

One setting (``SECRET_KEYS=id:base64,id2:base64``, newest first) feeds everything secret in a service.
Each use derives keys of its own with HKDF-SHA256 (RFC 5869), so that a page token can never pass for a
stored OAuth token. AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces: good for 2^32 messages a key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_VERSION: Final = 1
_NONCE_BYTES: Final = 12
_is_key_id = re.compile(r"[A-Za-z0-9_-]{1,32}").fullmatch


class KeyMissing(Exception):
    """The ciphertext names a key that is not on the ring."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no key {key_id!r} on the ring")
        self.key_id = key_id


class CiphertextInvalid(Exception):
    """The ciphertext was changed, cut, made for another purpose or with other associated data."""


@dataclass(frozen=True, repr=False)
class Keyring:
    """Named keys of 32 bytes, newest first."""

    keys: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read ``id:base64,id2:base64``; raises ValueError that says what is wrong, without the keys."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            key_id, _, encoded = entry.partition(":")
            if not _is_key_id(key_id) or key_id in keys:
                raise ValueError(f"key {number}: the id must be unique, 1 to 32 of A-Z a-z 0-9 _ -")
            keys[key_id] = _decode_key(encoded, number)
        if not keys:
            raise ValueError("at least one key is needed, as id:base64 of 32 bytes")
        return cls(keys)

    @property
    def primary(self) -> str:
        """Return the id of the key that encrypts."""
        return next(iter(self.keys))

    def cipher(self, purpose: str) -> Cipher:
        """Return the cipher of one purpose."""
        return Cipher({key_id: AESGCM(self._derive(key_id, f"{purpose}/aes-gcm")) for key_id in self.keys})

    def mac(self, purpose: str) -> Mac:
        """Return the keyed hash of one purpose."""
        return Mac({key_id: self._derive(key_id, f"{purpose}/hmac") for key_id in self.keys})

    def _derive(self, key_id: str, info: str) -> bytes:
        derivation = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=f"vibework/{info}".encode())
        return derivation.derive(self.keys[key_id])


@dataclass(frozen=True, repr=False)
class Cipher:
    """Authenticated encryption for one purpose.

    A ciphertext is: version (1 byte), length of the key id (1 byte), key id, nonce (12), sealed data.
    """

    keys: Mapping[str, AESGCM]

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Seal with the newest key; ``associated`` must be given again to open it."""
        key_id, key = next(iter(self.keys.items()))
        header = _header(key_id)
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + key.encrypt(nonce, plaintext, header + associated)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """Open what ``encrypt`` made; raises ``KeyMissing`` or ``CiphertextInvalid``."""
        key_id = key_id_of(ciphertext)
        key = self.keys.get(key_id)
        if key is None:
            raise KeyMissing(key_id)
        header = _header(key_id)
        start = len(header) + _NONCE_BYTES
        try:
            return key.decrypt(ciphertext[len(header) : start], ciphertext[start:], header + associated)
        except (InvalidTag, ValueError):
            raise CiphertextInvalid from None

    def is_current(self, ciphertext: bytes) -> bool:
        """Say whether the newest key made it; if not, encrypt it again when it is next written."""
        return key_id_of(ciphertext) == next(iter(self.keys))


@dataclass(frozen=True, repr=False)
class Mac:
    """HMAC-SHA256 for one purpose, for what must be compared and never read back."""

    keys: Mapping[str, bytes]

    def sign(self, data: bytes) -> bytes:
        """Return the 32-byte tag under the newest key."""
        return hmac.digest(next(iter(self.keys.values())), data, "sha256")

    def tags(self, data: bytes) -> list[bytes]:
        """Return the tags under each key of the ring, newest first: for looking up what any of them made."""
        return [hmac.digest(key, data, "sha256") for key in self.keys.values()]

    def verify(self, data: bytes, tag: bytes) -> bool:
        """Say whether any key of the ring made ``tag``, in constant time for each key."""
        found = [hmac.compare_digest(hmac.digest(key, data, "sha256"), tag) for key in self.keys.values()]
        return any(found)


def key_id_of(ciphertext: bytes) -> str:
    """Return the id of the key that made a ciphertext; raises ``CiphertextInvalid``."""
    length = ciphertext[1] if len(ciphertext) > 1 else 0
    if not length or ciphertext[0] != _VERSION or len(ciphertext) < 2 + length + _NONCE_BYTES:
        raise CiphertextInvalid
    try:
        return ciphertext[2 : 2 + length].decode("ascii")
    except UnicodeDecodeError:
        raise CiphertextInvalid from None


def _header(key_id: str) -> bytes:
    return bytes((_VERSION, len(key_id))) + key_id.encode("ascii")


def _decode_key(encoded: str, number: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number}: must be 32 bytes in base64")
    return key
