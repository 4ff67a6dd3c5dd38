"""Unsubscribe links: the token in a mail's link says which user, by which channel, of which category.

A token is sealed under ``UNSUBSCRIBE_KEYS``, so nobody makes one up or reads whom it is about, and it holds for as long
as its key is on the ring. It names no row: it outlives the notification, the preferences, and the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from chassis.contract import tokentext
from chassis.keyring import Cipher, CiphertextInvalid, KeyMissing, Keyring
from notifications_service.preferences.model import Category
from notifications_service.preferences.settings import PLACE, UnsubscribeSettings

# A header line has 998 characters at most (RFC 5322, 2.1.1), and no place in a URL where it could be folded.
MOST_CHARACTERS: Final = 900
_PURPOSE: Final = "unsubscribe"
# Of what a token holds, so that a later version can hold something else.
_VERSION: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a mail's recipient may switch off: a category by a channel; an empty one: what has no category."""

    user_id: str
    channel: str
    category: str


class UnsubscribeTokens:
    """Issues and reads tokens; ``keyring`` None: none were ever issued."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._cipher: Cipher | None = None if keyring is None else keyring.cipher(_PURPOSE)

    def issue(self, of: Subscription) -> str:
        """Return a new token. There must be a keyring."""
        if self._cipher is None:
            raise ValueError("no keys to make tokens with")
        return tokentext.write(self._cipher.encrypt(_VERSION + orjson.dumps([of.user_id, of.channel, of.category])))

    def read(self, token: str) -> Subscription | None:
        """Return what a token is about; None for one that was not issued under a key of the ring."""
        if self._cipher is None:
            return None
        try:
            content = self._cipher.decrypt(tokentext.read(token))
        except (ValueError, CiphertextInvalid, KeyMissing):
            return None
        return Subscription(*orjson.loads(content[1:])) if content[:1] == _VERSION else None


class UnsubscribeLinks:
    """Makes the links of mails, for ``List-Unsubscribe`` and templates."""

    def __init__(self, settings: UnsubscribeSettings) -> None:
        self._url = settings.unsubscribe_url
        self._tokens = tokens_of(settings)

    def of_mail(self, user_id: str, category: Category, *, critical: bool) -> str:
        """Return the URL by which a user switches a category off by email; empty: the mail has none.

        What is critical, or of a mandatory category, cannot be switched off. An id of which the URL would be longer
        than ``MOST_CHARACTERS`` has none either.
        """
        if not self._url or critical or category.mandatory:
            return ""
        url = self._url.replace(PLACE, self._tokens.issue(Subscription(user_id, "email", category.name)))
        return url if len(url) <= MOST_CHARACTERS else ""


def tokens_of(settings: UnsubscribeSettings) -> UnsubscribeTokens:
    """Return the tokens under the keys of the settings."""
    keys = settings.unsubscribe_keys
    return UnsubscribeTokens(None if keys is None else Keyring.parse(keys.get_secret_value()))
