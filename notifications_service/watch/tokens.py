"""Resume tokens: opaque, authenticated, and good only for the user whose watch they were issued to.

A token holds a ``ResumePoint``, which every process of the service can resume from.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

from bson import Timestamp

from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from notifications_service.watch.changes import ResumePoint, StreamPosition
from notifications_service.watch.errors import ResumeTokenInvalid

# Version, then seconds and number of the floor's cluster time (zeros: none); the position follows.
_HEADER: Final = struct.Struct(">BII")
_VERSION: Final = 1


class ResumeTokens:
    """Issues and reads the resume tokens of one service."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("resume-tokens")

    def issue(self, user_id: str, place: ResumePoint) -> str:
        """Return the token of a resume point in the user's stream."""
        floor = place.floor or Timestamp(0, 0)
        content = _HEADER.pack(_VERSION, floor.time, floor.inc) + bytes.fromhex(place.position)
        return _text(self._cipher.encrypt(content, user_id.encode()))

    def read(self, user_id: str, token: str) -> ResumePoint:
        """Return the resume point in a token. Raises ``ResumeTokenInvalid``."""
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            content = self._cipher.decrypt(sealed, user_id.encode())
            version, seconds, number = _HEADER.unpack_from(content)
        except (binascii.Error, ValueError, CiphertextInvalid, KeyMissing, struct.error):
            raise ResumeTokenInvalid from None
        # Base64 has several spellings of one value; only ours is a token.
        if version != _VERSION or _text(sealed) != token:
            raise ResumeTokenInvalid
        floor = Timestamp(seconds, number) if seconds else None
        return ResumePoint(StreamPosition(content[_HEADER.size :].hex().upper()), floor)


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
