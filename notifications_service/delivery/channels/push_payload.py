"""The text of a push message: JSON for the service worker of the page, cut to what one message takes.

What is too long loses the end of its body, then of its title, and gets an ellipsis there.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import orjson

from notifications_service.delivery.channels.channel import PushMessage
from notifications_service.delivery.channels.push_encryption import MOST_PLAINTEXT

ELLIPSIS: Final = "…"
_JOINER: Final = "\u200d"
# Skin tones of emoji.
_MODIFIERS: Final = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
# Flags are pairs of these.
_FIRST_INDICATOR, _LAST_INDICATOR = "\U0001f1e6", "\U0001f1ff"
# Characters that belong to the one before are kept with it, as many as any script or emoji needs.
_LONGEST_CLUSTER: Final = 32


class PayloadTooLarge(Exception):
    """Even without text, what the message has to carry is too long: its URLs."""


def payload(message: PushMessage) -> bytes:
    """Return the message in at most ``MOST_PLAINTEXT`` bytes. Raises PayloadTooLarge."""
    rest = {
        "url": message.url,
        "icon": message.icon,
        "notification_id": message.notification_id,
        "delivery_id": message.delivery_id,
    }
    present = {name: value for name, value in rest.items() if value}
    room = MOST_PLAINTEXT - len(_json("", "", present))
    if room < 0:
        raise PayloadTooLarge
    title = cut(message.title, room)
    return _json(title, cut(message.body, room - _size(title)), present)


def cut(text: str, room: int) -> str:
    """Return as much of a text as takes ``room`` bytes in JSON, with an ellipsis where some is missing."""
    if _size(text) <= room:
        return text
    room -= _size(ELLIPSIS)
    if room < 0:
        return ""
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if _size(text[:middle]) <= room else (fits, middle)
    return text[: _end_of_character(text, fits)].rstrip() + ELLIPSIS


def _end_of_character(text: str, end: int) -> int:
    """Return the last place up to ``end`` between two characters as people see them."""
    for place in range(end, max(0, end - _LONGEST_CLUSTER), -1):
        if not _belong_together(text, place):
            return place
    return 0 if end <= _LONGEST_CLUSTER else end


def _belong_together(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if _JOINER in (before, after) or after in _MODIFIERS or unicodedata.category(after) in ("Mn", "Mc", "Me"):
        return True
    if not _is_indicator(after):
        return False
    flags = 0
    while flags < place and _is_indicator(text[place - 1 - flags]):
        flags += 1
    return flags % 2 == 1


def _is_indicator(character: str) -> bool:
    return _FIRST_INDICATOR <= character <= _LAST_INDICATOR


def _json(title: str, body: str, rest: dict[str, str]) -> bytes:
    return orjson.dumps({"title": title, "body": body, **rest})


def _size(text: str) -> int:
    return len(orjson.dumps(text)) - 2
