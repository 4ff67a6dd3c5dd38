"""Puts the sender of push messages together; for the composition root."""

from __future__ import annotations

from chassis.clock import Clock
from chassis.serving.lifecycle import Scope
from notifications_service.delivery.channels.web_push import WebPushSender
from notifications_service.push_subscriptions.settings import PushSettings


def open_push_sender(settings: PushSettings, scope: Scope, *, clock: Clock) -> WebPushSender | None:
    """Return what sends push messages, None where no keys are set; its connections close with ``scope``.

    To be called in the running loop. Nothing is connected yet.
    """
    keys = settings.push_keys
    if keys.newest is None:
        return None
    sender = WebPushSender(keys, settings.web_push_subject, settings.endpoint_rules, clock=clock)
    scope.resources.push_async_callback(sender.close)
    return sender
