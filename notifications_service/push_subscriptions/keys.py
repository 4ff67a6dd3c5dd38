"""The server's own keys for Web Push (VAPID, RFC 8292), by their ids, newest first.

A browser subscribes with one of them and takes messages that this very one has signed, so a key stays on the ring for
as long as subscriptions were made with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SCALAR_BYTES: Final = 32
_is_key_id = re.compile(r"[A-Za-z0-9_-]{1,32}").fullmatch


@dataclass(frozen=True, slots=True)
class PushKey:
    """One key: ``public`` is what browsers subscribe with, an uncompressed point on P-256 (65 bytes)."""

    id: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)
    public: bytes


@dataclass(frozen=True, slots=True)
class PushKeys:
    """The ring; the first key is told to browsers, all sign. Without keys there is no push."""

    by_id: Mapping[str, PushKey] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> PushKeys:
        """Read ``id:key,id2:key``; a key is a private scalar of P-256, 32 bytes in base64url.

        Raises ValueError that says what is wrong, without the keys.
        """
        keys: dict[str, PushKey] = {}
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            key_id, _, encoded = entry.partition(":")
            if not _is_key_id(key_id) or key_id in keys:
                raise ValueError(f"key {number}: the id must be unique, 1 to 32 of A-Z a-z 0-9 _ -")
            private = _private(encoded, number)
            keys[key_id] = PushKey(key_id, private, public_bytes(private.public_key()))
        return cls(keys)

    @property
    def newest(self) -> PushKey | None:
        """The key for new subscriptions; None where there is no push."""
        return next(iter(self.by_id.values()), None)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as an uncompressed point, 65 bytes."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def point(data: bytes) -> ec.EllipticCurvePublicKey:
    """Return the point on P-256 that these bytes are. Raises ValueError where they are none."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def _private(encoded: str, number: int) -> ec.EllipticCurvePrivateKey:
    try:
        # Standard base64 is taken as well as base64url, with and without padding.
        text = encoded.translate(str.maketrans("-_", "+/")).rstrip("=")
        scalar = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        scalar = b""
    if len(scalar) != SCALAR_BYTES:
        raise ValueError(f"key {number}: must be 32 bytes in base64url")
    try:
        return ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())
    except ValueError:
        raise ValueError(f"key {number}: is no private key of P-256; make another one") from None
