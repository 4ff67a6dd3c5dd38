"""Resource ids: a prefix and a UUIDv7 (RFC 9562) in Crockford base32, as TypeID does.

``user_01jd8k2v5rf2xbq0m3c9w7n4ht``: sorts by time of creation, tells its kind, and needs no escaping.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from time import time_ns
from typing import Final
from uuid import UUID

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
SUFFIX_LENGTH: Final = 26
# 26 characters hold 130 bits, so the first carries three: 0 to 7.
SUFFIX_PATTERN: Final = r"[0-7][0-9a-hjkmnp-tv-z]{25}"
_is_suffix = re.compile(SUFFIX_PATTERN).fullmatch
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]

_RANDOM_BITS: Final = 74
_B_BITS: Final = 62


class IdGenerator:
    """Makes ids that grow within the process, also inside one millisecond and when the clock steps back."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._last_random = 0

    def new(self, prefix: str) -> str:
        """Return a new id, such as ``user_01jd…`` for the prefix ``user``."""
        return f"{prefix}_{encode(self._uuid7())}"

    def _uuid7(self) -> int:
        now = time_ns() // 1_000_000
        if now > self._last_ms:
            self._last_ms = now
            # The top bit stays free, so that counting up within the millisecond cannot overflow.
            self._last_random = int.from_bytes(os.urandom(10)) >> (80 - _RANDOM_BITS + 1)
        else:
            # RFC 9562, 6.2, method 2: a random step keeps the next id hard to guess.
            self._last_random += 1 + int.from_bytes(os.urandom(4))
        return _layout(self._last_ms, self._last_random)


def _layout(milliseconds: int, random: int) -> int:
    high, low = random >> _B_BITS, random & ((1 << _B_BITS) - 1)
    return milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low


def id_at(prefix: str, time: datetime, random: int) -> str:
    """Return the id of a thing made at ``time`` (aware), its random part from 74 given bits: for data made up."""
    return f"{prefix}_{encode(_layout(int(time.timestamp() * 1_000), random & ((1 << _RANDOM_BITS) - 1)))}"


_generator: Final = IdGenerator()
new_id: Final = _generator.new


def encode(value: int) -> str:
    """Write 128 bits as 26 characters of Crockford base32, lower case."""
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(120, -1, -10)])


def decode(suffix: str) -> int:
    """Read the 128 bits of a suffix; raises ValueError."""
    if not _is_suffix(suffix):
        raise ValueError("not 26 characters of Crockford base32")
    value = 0
    for character in suffix:
        value = value << 5 | _VALUES[character]
    return value


def uuid_of(text: str) -> UUID:
    """Return the UUID in an id; raises ValueError for what is not an id."""
    return UUID(int=decode(text.rpartition("_")[2]))


def is_id(text: str, prefix: str) -> bool:
    """Say whether ``text`` has the form of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _is_suffix(text[len(prefix) + 1 :]) is not None


def created_at(text: str) -> datetime:
    """Return the time in an id (UTC, milliseconds); raises ValueError for what is not an id."""
    return datetime.fromtimestamp((decode(text.rpartition("_")[2]) >> 80) / 1000, UTC)
