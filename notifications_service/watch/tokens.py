"""Resume tokens: opaque, authenticated, and good only for the user, and the filter, of the watch that they are from.

With another filter a client would miss what that lets pass and happened before, and would not know. A token holds a
``ResumePoint``, which every process of the service can resume from.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import orjson
from bson import Timestamp

from chassis.contract import tokentext
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from chassis.watching.errors import ResumeTokenInvalid
from notifications_service.notification.filters import EVERYTHING, Filter
from notifications_service.watch.changes import ResumePoint, StreamPosition

# Version, then seconds and number of the floor's cluster time (zeros: none); the position follows.
_HEADER: Final = struct.Struct(">BII")
_VERSION: Final = 1


class ResumeTokens:
    """Issues and reads the resume tokens of one service."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("resume-tokens")

    def issue(self, user_id: str, place: ResumePoint, chosen: Filter = EVERYTHING) -> str:
        """Return the token of a resume point in the user's stream; ``chosen``: the filter of the watch."""
        floor = place.floor or Timestamp(0, 0)
        content = _HEADER.pack(_VERSION, floor.time, floor.inc) + bytes.fromhex(place.position)
        return tokentext.write(self._cipher.encrypt(content, _bound_to(user_id, chosen)))

    def read(self, user_id: str, token: str, chosen: Filter = EVERYTHING) -> ResumePoint:
        """Return the resume point in a token. Raises ``ResumeTokenInvalid``."""
        try:
            content = self._cipher.decrypt(tokentext.read(token), _bound_to(user_id, chosen))
            version, seconds, number = _HEADER.unpack_from(content)
        except (ValueError, CiphertextInvalid, KeyMissing, struct.error):
            raise ResumeTokenInvalid from None
        if version != _VERSION:
            raise ResumeTokenInvalid
        floor = Timestamp(seconds, number) if seconds else None
        return ResumePoint(StreamPosition(content[_HEADER.size :].hex().upper()), floor)


def _bound_to(user_id: str, chosen: Filter) -> bytes:
    if chosen == EVERYTHING:
        return user_id.encode()
    # The byte 255 is in no UTF-8, so that no user's id ends like the filter of another.
    conditions = orjson.dumps([sorted(chosen.types), sorted(chosen.categories)])
    return user_id.encode() + b"\xff" + hashlib.sha256(conditions).digest()
