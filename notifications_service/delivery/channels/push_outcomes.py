"""Answers of push services: their meaning for a message, and for its subscription.

An endpoint is chosen by whoever registers it. So trouble at one push service is told as that service's
(``PushTarget.provider``), and says nothing of the others.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from aiohttp import ClientSSLError

from notifications_service.delivery.channels.channel import Outcome
from notifications_service.outbox.model import Reason

# The longest that a push service may ask to wait; one that asks for more is asked again after this.
LONGEST_WAIT: Final = timedelta(hours=24)

KEY_GONE: Final = Outcome(Reason.KEY_GONE, final=True, detail="the key of the subscription is not configured")
TOO_LARGE: Final = Outcome(Reason.PAYLOAD_TOO_LARGE, final=True, detail="its URLs alone are too long")
NO_POINT: Final = Outcome(Reason.REJECTED_PERMANENT, final=True, detail="the subscription's p256dh is no point")

_GONE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_UNAUTHORIZED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LONGEST_NUMBER: Final = 9


def refused(why: str) -> Outcome:
    """Return the outcome for an endpoint that this system does not call."""
    return Outcome(Reason.ENDPOINT_REFUSED, final=True, detail=why)


def of_status(status: int, retry_after: str, now: datetime) -> Outcome:
    """Return the outcome of an answer; ``retry_after``: its header, or nothing."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome(http_status=status)
    wait = _wait(retry_after, now)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Outcome(Reason.RATE_LIMITED, http_status=status, retry_after=wait)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Outcome(Reason.REJECTED_TEMPORARY, http_status=status, retry_after=wait, blames_provider=True)
    return Outcome(_final(status), final=True, http_status=status)


def of_failure(error: Exception) -> Outcome:
    """Return the outcome where there was no answer."""
    if isinstance(error, TimeoutError):
        return Outcome(Reason.TIMEOUT, blames_provider=True, detail="the push service did not answer in time")
    if isinstance(error, ClientSSLError | ssl.SSLError):
        return Outcome(Reason.TLS, blames_provider=True, detail="the push service has no certificate that holds")
    return Outcome(Reason.CONNECTION, blames_provider=True, detail="the push service cannot be reached")


def _final(status: int) -> Reason:
    if status in _GONE:
        return Reason.SUBSCRIPTION_GONE
    if status in _UNAUTHORIZED:
        return Reason.AUTH
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Reason.PAYLOAD_TOO_LARGE
    # A redirect would lead to an endpoint that nobody has judged.
    return Reason.ENDPOINT_REFUSED if status < HTTPStatus.BAD_REQUEST else Reason.REJECTED_PERMANENT


def _wait(header: str, now: datetime) -> timedelta | None:
    """Return what `Retry-After` asks for (RFC 9110, 10.2.3), in seconds or as a date; None: nothing readable."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = int(text[:_LONGEST_NUMBER]) if len(text) <= _LONGEST_NUMBER else LONGEST_WAIT.total_seconds()
        return min(timedelta(seconds=seconds), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
        # A date in the old forms has no time zone, and is in UTC.
        wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return None
    return max(timedelta(), min(wait, LONGEST_WAIT))
