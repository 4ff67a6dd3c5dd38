"""The name under which this system sends to push services (VAPID, RFC 8292): signed tokens, one for each service."""

from __future__ import annotations

import base64
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from chassis.clock import Clock
from notifications_service.push_subscriptions.keys import PushKey

# A token is good for half a day, of the day that RFC 8292 allows, and replaced when half of that has passed: clocks of
# push services may differ from ours.
LIFETIME: Final = timedelta(hours=12)
# Tokens that are kept; there are few push services, unless somebody registers made-up ones.
MOST_TOKENS: Final = 1_000
_SHA256: Final = ec.ECDSA(hashes.SHA256())


class Vapid:
    """Makes the header `Authorization` of requests; ``subject``: whom operators of push services may write to."""

    def __init__(self, subject: str, clock: Clock) -> None:
        self._subject = subject
        self._clock = clock
        self._made: OrderedDict[tuple[str, str], tuple[datetime, str]] = OrderedDict()

    def authorization(self, origin: str, key: PushKey) -> str:
        """Return the header for the push service at an origin, for a subscription made with this key."""
        now = self._clock()
        until, header = self._made.get((origin, key.id), (now, ""))
        if until - now < LIFETIME / 2 or until - now > LIFETIME:
            header = f"vapid t={self._token(origin, key, now + LIFETIME)}, k={_base64url(key.public)}"
            self._made[origin, key.id] = now + LIFETIME, header
        self._made.move_to_end((origin, key.id))
        if len(self._made) > MOST_TOKENS:
            self._made.popitem(last=False)
        return header

    def _token(self, origin: str, key: PushKey, until: datetime) -> str:
        claims = {"aud": origin, "exp": int(until.timestamp()), "sub": self._subject}
        signed = ".".join(_base64url(orjson.dumps(part)) for part in ({"typ": "JWT", "alg": "ES256"}, claims))
        r, s = decode_dss_signature(key.private.sign(signed.encode(), _SHA256))
        return f"{signed}.{_base64url(r.to_bytes(32) + s.to_bytes(32))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
