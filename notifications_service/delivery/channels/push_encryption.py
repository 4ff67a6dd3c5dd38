"""Encryption of push messages for one browser (RFC 8291, by the content coding aes128gcm of RFC 8188).

The primitives are those of `cryptography`; this is their order.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from notifications_service.push_subscriptions.keys import point, public_bytes

# What push services must take (RFC 8030, section 7.2), less header (86), padding delimiter (1) and tag (16).
BODY_BYTES: Final = 4_096
MOST_PLAINTEXT: Final = 3_993
_SALT_BYTES: Final = 16
_LAST_RECORD: Final = b"\x02"


def encrypt(plaintext: bytes, p256dh: bytes, auth: bytes) -> bytes:
    """Return the body of the request to the push service: one record of at most ``BODY_BYTES``.

    ``plaintext``: at most ``MOST_PLAINTEXT`` bytes. ``p256dh`` and ``auth``: of the subscription. Raises ValueError
    where ``p256dh`` is no point on the curve.
    """
    return sealed(plaintext, p256dh, auth, ec.generate_private_key(ec.SECP256R1()), os.urandom(_SALT_BYTES))


def sealed(plaintext: bytes, p256dh: bytes, auth: bytes, ours: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """Encrypt with this key and salt, of which each is good for one message."""
    public = public_bytes(ours.public_key())
    shared = ours.exchange(ec.ECDH(), point(p256dh))
    secret = _derive(auth, shared, b"WebPush: info\x00" + p256dh + public)
    content_key = _derive(salt, secret, b"Content-Encoding: aes128gcm\x00")[:16]
    nonce = _derive(salt, secret, b"Content-Encoding: nonce\x00")[:12]
    header = salt + struct.pack("!LB", BODY_BYTES, len(public)) + public
    return header + AESGCM(content_key).encrypt(nonce, plaintext + _LAST_RECORD, None)


def _derive(salt: bytes, secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) of one block, 32 bytes."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")
