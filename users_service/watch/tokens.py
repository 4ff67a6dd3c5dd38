"""Resume tokens: opaque, sealed, and good for every process and any kinds of events.

A token holds a ``Place``. It is not bound to what the watch asked for: a watch that resumes may ask for other kinds.
"""

from __future__ import annotations

import struct
from typing import Final

from chassis.contract import tokentext
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from chassis.watching.errors import ResumeTokenInvalid
from users_service.events.model import Place

# Version, epoch, number and stamp.
_CONTENT: Final = struct.Struct(">B16sQQ")
_VERSION: Final = 1


class ResumeTokens:
    """Issues and reads the resume tokens of one service."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("user-event-tokens")

    def issue(self, place: Place) -> str:
        """Return the token of a place."""
        content = _CONTENT.pack(_VERSION, place.epoch, place.seq, place.stamp)
        return tokentext.write(self._cipher.encrypt(content))

    def read(self, token: str) -> Place:
        """Return the place in a token. Raises ``ResumeTokenInvalid``."""
        try:
            version, epoch, seq, stamp = _CONTENT.unpack(self._cipher.decrypt(tokentext.read(token)))
        except (ValueError, CiphertextInvalid, KeyMissing, struct.error):
            raise ResumeTokenInvalid from None
        if version != _VERSION:
            raise ResumeTokenInvalid
        return Place(epoch, seq, stamp)
