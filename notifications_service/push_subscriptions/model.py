"""The stored form of a push subscription: names and values of the collection `push_subscriptions`.

What reaches a browser, its endpoint and its keys, is sealed in one field. The endpoint is found by its SHA-256, which
is no secret's: an endpoint holds a long random part. Times are those of ``notifications_service.clock``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from bson import Binary

from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from notifications_service.mongodb.codec import Document

ID_PREFIX: Final = "push"
# Subscriptions of one user; one more takes the place of the one used longest ago.
MOST_OF_USER: Final = 50
USER_AGENT_CHARACTERS: Final = 512
# Uncompressed points on P-256, and authentication secrets (RFC 8291).
POINT_BYTES: Final = 65
AUTH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PushTarget:
    """A browser's subscription, its keys opened.

    ``key_id``: of the server's key that it was made with. One that cannot be opened, because it was sealed under a key
    that is gone, has neither endpoint nor keys; whoever sends to it says KEY_GONE.
    """

    id: str
    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)
    key_id: str

    @property
    def is_opened(self) -> bool:
        """Whether its endpoint and keys are known."""
        return bool(self.endpoint)

    @property
    def provider(self) -> str:
        """The host of its push service, which is in trouble by itself: whoever registers an endpoint chooses it."""
        return urlsplit(self.endpoint).netloc.lower()


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription as a browser makes it, checked."""

    user_id: str
    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)
    key_id: str
    user_agent: str = ""
    expires_at: datetime | None = None


def endpoint_hash(endpoint: str) -> Binary:
    """Return what an endpoint is found by: it is compared whole, byte for byte."""
    return Binary(hashlib.sha256(endpoint.encode()).digest())


class Seal:
    """Seals endpoints and keys, each for the row of its endpoint."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("push-subscriptions")

    def close(self, new: NewSubscription) -> Binary:
        """Return endpoint and keys, sealed under the newest key of the ring."""
        content = new.p256dh + new.auth + new.endpoint.encode()
        return Binary(self._cipher.encrypt(content, endpoint_hash(new.endpoint)))

    @property
    def primary(self) -> str:
        """The id of the key that seals what is new."""
        return next(iter(self._cipher.keys))

    def is_current(self, row: Document) -> bool:
        """Say whether the newest key sealed a row. Raises CiphertextInvalid for what no key did."""
        return self._cipher.is_current(bytes(row["sealed"]))

    def again(self, row: Document) -> Binary:
        """Return a row's content sealed under the newest key. Raises KeyMissing or CiphertextInvalid."""
        place = bytes(row["endpointHash"])
        return Binary(self._cipher.encrypt(self._cipher.decrypt(bytes(row["sealed"]), place), place))

    def target(self, row: Document) -> PushTarget:
        """Return a row's target; one that is not ``is_opened`` where the key of its seal is gone."""
        try:
            content = self._cipher.decrypt(bytes(row["sealed"]), bytes(row["endpointHash"]))
        except (KeyMissing, CiphertextInvalid):
            return PushTarget(row["_id"], "", b"", b"", row["keyId"])
        point, rest = content[:POINT_BYTES], content[POINT_BYTES:]
        return PushTarget(row["_id"], rest[AUTH_BYTES:].decode(), point, rest[:AUTH_BYTES], row["keyId"])
