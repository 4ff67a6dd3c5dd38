"""Web Push (RFC 8030): messages are encrypted for the browser, signed as ours, and handed to its push service."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiohttp import ClientError, ClientResponse, ClientSession, DummyCookieJar, ServerDisconnectedError
from yarl import URL

from chassis.clock import Clock
from chassis.logs import logging
from notifications_service.delivery.channels import push_outcomes as outcomes
from notifications_service.delivery.channels.channel import Outcome, PushMessage
from notifications_service.delivery.channels.public_connector import AddressRefused, new_connector
from notifications_service.delivery.channels.push_encryption import encrypt
from notifications_service.delivery.channels.push_payload import PayloadTooLarge, payload
from notifications_service.delivery.channels.vapid import Vapid
from notifications_service.push_subscriptions.endpoints import EndpointRefused, EndpointRules, PushEndpoint
from notifications_service.push_subscriptions.keys import PushKey, PushKeys
from notifications_service.push_subscriptions.model import PushTarget

# Connections to all push services together, and to one; sends beyond them wait within their time.
CONNECTIONS: Final = 100
CONNECTIONS_OF_ONE: Final = 50
# How long an idle connection is kept. Push services keep theirs longer, so a message seldom meets one that they close.
IDLE_SECONDS: Final = 30.0
LONGEST_TTL: Final = timedelta(days=28)
# What is read of a body, so that its connection can be used again; nothing in it counts.
_BODY_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 1.0
_is_topic: Final = re.compile(r"[A-Za-z0-9_-]{1,32}").fullmatch


class WebPushSender:
    """Sends push messages over connections that it keeps; ``close`` ends them."""

    def __init__(
        self,
        keys: PushKeys,
        subject: str,
        rules: EndpointRules,
        *,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Must be made in a running loop.

        ``subject``: whom operators of push services may write to. ``tls``: how certificates are checked; None: against
        the authorities of the system.
        """
        self._keys = keys
        self._vapid = Vapid(subject, clock)
        self._rules = rules
        self._clock = clock
        self._session = ClientSession(
            connector=new_connector(
                rules,
                ssl=tls or ssl.create_default_context(),
                limit=CONNECTIONS,
                limit_per_host=CONNECTIONS_OF_ONE,
                keepalive_timeout=IDLE_SECONDS,
            ),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=False,
            # Proxies of the environment would connect for us, to what nobody has judged.
            trust_env=False,
        )

    async def send(self, message: PushMessage, target: PushTarget, seconds: float) -> Outcome:
        """Hand a message to the push service of a subscription within so many seconds."""
        key = self._keys.by_id.get(target.key_id)
        if key is None or not target.is_opened:
            return outcomes.KEY_GONE
        try:
            endpoint = self._rules.parse(target.endpoint)
            body = encrypt(payload(message), target.p256dh, target.auth)
        except EndpointRefused as error:
            return outcomes.refused(str(error))
        except PayloadTooLarge:
            return outcomes.TOO_LARGE
        except ValueError:
            return outcomes.NO_POINT
        return await self._posted(endpoint, body, self._headers(message, endpoint, key), seconds)

    async def _posted(self, endpoint: PushEndpoint, body: bytes, headers: dict[str, str], seconds: float) -> Outcome:
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await self._post(endpoint, body, headers)
                except ServerDisconnectedError:
                    # The push service closed an idle connection at this moment. It may have taken the message all the
                    # same: then it comes twice, and the page shows it once, by its tag.
                    return await self._post(endpoint, body, headers)
        except AddressRefused:
            return outcomes.refused("the name stands for an address that is not public")
        except (TimeoutError, ClientError, OSError) as error:
            return outcomes.of_failure(error)

    async def _post(self, endpoint: PushEndpoint, body: bytes, headers: dict[str, str]) -> Outcome:
        url = URL(endpoint.url, encoded=True)
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if not response.content.at_eof():
                await _drain(response)
            return outcomes.of_status(response.status, response.headers.get("Retry-After", ""), self._clock())

    def _headers(self, message: PushMessage, endpoint: PushEndpoint, key: PushKey) -> dict[str, str]:
        ttl = max(timedelta(), min(message.ttl, LONGEST_TTL))
        headers = {
            "Authorization": self._vapid.authorization(endpoint.origin, key),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(int(ttl.total_seconds())),
            "Urgency": message.urgency,
        }
        if _is_topic(message.topic):
            headers["Topic"] = message.topic
        elif message.topic:
            logging.get(__name__).warning("topic left out", delivery=message.delivery_id)
        return headers

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _drain(response: ClientResponse) -> None:
    """Read a small body, so that its connection can be used again; the answer stands whatever becomes of it."""
    with suppress(TimeoutError, ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            await response.content.read(_BODY_BYTES)
