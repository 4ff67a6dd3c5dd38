"""Puts the channels together; for the composition root."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from chassis.clock import Clock
from chassis.serving.lifecycle import Scope
from chassis.settings import WrongSetting
from notifications_service.delivery.channels.settings import EmailSettings, RelaySettings
from notifications_service.delivery.channels.smtp import SMTPSender
from notifications_service.push_subscriptions.settings import PushSettings

if TYPE_CHECKING:
    from notifications_service.delivery.channels.web_push import WebPushSender


def open_mail_sender(settings: EmailSettings, scope: Scope, *, clock: Clock) -> SMTPSender | None:
    """Return what sends mails, None where no relay is set; its connections close with ``scope``.

    Nothing is connected yet. Raises WrongSetting where the authority's file holds none.
    """
    if not settings.smtp_host:
        return None
    sender = SMTPSender(settings, tls_context(settings), clock)
    scope.resources.callback(sender.close)
    return sender


def open_push_sender(settings: PushSettings, scope: Scope, *, clock: Clock) -> WebPushSender | None:
    """Return what sends push messages, None where no keys are set; its connections close with ``scope``."""
    if not settings.push_keys.by_id:
        return None
    # Its HTTP client takes 9 MiB, which a process that sends none has no use for.
    from notifications_service.delivery.channels.web_push import WebPushSender

    sender = WebPushSender(settings.push_keys, settings.web_push_subject, settings.endpoint_rules, clock=clock)
    scope.resources.push_async_callback(sender.close)
    return sender


def tls_context(settings: RelaySettings) -> ssl.SSLContext:
    """Return what checks the relay's certificate: its authority and its name. Raises WrongSetting."""
    try:
        context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    except ssl.SSLError:
        raise WrongSetting("SMTP_CA_FILE: there is no certificate (PEM) in the file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
