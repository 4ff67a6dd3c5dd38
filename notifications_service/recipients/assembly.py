"""Puts the check of recipients together; for the composition root."""

from __future__ import annotations

from chassis.peers.clients import open_peer_channel
from chassis.serving.lifecycle import Scope
from chassis.telemetry.start import Telemetry
from notifications_service.recipients import metrics
from notifications_service.recipients.check import Anyone, Recipients
from notifications_service.recipients.settings import RecipientSettings
from notifications_service.users_client import BATCH_GET_USERS, UsersClient


async def open_users(settings: RecipientSettings, scope: Scope, telemetry: Telemetry) -> UsersClient:
    """Return a client of the users service; its channel closes with ``scope``."""
    channel = open_peer_channel(
        settings, settings.users_address, idempotent=[BATCH_GET_USERS], interceptors=telemetry.interceptors
    )
    client = UsersClient(await scope.resources.enter_async_context(channel), settings.recipient_check_timeout_ms / 1000)
    metrics.of_peer(telemetry.registry, client.breaker)
    return client


def new_check(settings: RecipientSettings, users: UsersClient) -> Recipients | Anyone:
    """Return the check that the settings ask for."""
    if settings.recipient_check == "off":
        return Anyone()
    return Recipients(
        users,
        timeout=settings.recipient_check_timeout_ms / 1000,
        known=settings.recipient_known_ms / 1000,
        unknown=settings.recipient_unknown_ms / 1000,
        lenient=settings.recipient_check == "accept-when-unavailable",
    )
