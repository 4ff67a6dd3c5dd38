"""The seam between the worker and a channel: messages, and the outcome of each attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from notifications_service.outbox.model import Reason
from notifications_service.push_subscriptions.model import PushTarget


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at sending to one target ended.

    ``reason`` None: the far end accepted the message. ``final``: no later attempt can succeed. ``blames_provider``: the
    far end as a whole is in trouble, so the breaker counts it, and the attempt is not counted against the delivery.
    Email has one far end, the relay; each ``PushTarget.provider`` is one of its own, with a breaker of its own, or a
    user who registers a broken endpoint would stop the messages of all.
    ``detail`` is for people, at most 500 characters, and holds no address and no secret.
    """

    reason: Reason | None = None
    final: bool = False
    blames_provider: bool = False
    retry_after: timedelta | None = None
    detail: str = ""
    smtp_code: int = 0
    enhanced_status: str = ""
    http_status: int = 0
    provider_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, rendered. ``unsubscribe_url``: for List-Unsubscribe (RFC 8058), empty where it has none.

    ``thread``: mails with the same are shown as one conversation; empty: none.
    """

    delivery_id: str
    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    reply_to: str = field(default="", repr=False)
    unsubscribe_url: str = field(default="", repr=False)
    thread: str = ""


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A push message before it is encrypted; its body, then its title, is cut to what fits."""

    delivery_id: str
    notification_id: str
    title: str = field(repr=False)
    body: str = field(repr=False)
    url: str = field(default="", repr=False)
    icon: str = field(default="", repr=False)
    ttl: timedelta = timedelta(days=28)
    urgency: str = "normal"
    topic: str = ""


class MailSender(Protocol):
    """Sends mails; many calls at a time share its connections."""

    async def send(self, mail: Mail, seconds: float) -> Outcome:
        """Hand a mail over within so many seconds. Raises nothing but what is a fault of ours."""
        ...


class PushSender(Protocol):
    """Sends push messages; many calls at a time share its connections."""

    async def send(self, message: PushMessage, target: PushTarget, seconds: float) -> Outcome:
        """Hand a message to the push service of a subscription within so many seconds; errors as ``MailSender``."""
        ...
