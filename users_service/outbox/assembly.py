"""Puts the outbox together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from chassis.clock import Clock
from chassis.serving.lifecycle import Scope
from chassis.telemetry.start import Telemetry
from users_service.mysql.database import Database
from users_service.notifications_client import NotificationsClient
from users_service.outbox import metrics
from users_service.outbox.handlers import NoticeCourier, lift_bounce
from users_service.outbox.model import DELETE_USER_NOTIFICATIONS, LIFT_BOUNCE, SEND_NOTICE
from users_service.outbox.relay import EntryHandler, Relay
from users_service.outbox.settings import OutboxSettings


async def open_relay(
    settings: OutboxSettings,
    database: Database,
    clock: Clock,
    scope: Scope,
    telemetry: Telemetry,
    *,
    handlers_of_features: Callable[[NotificationsClient], Mapping[str, EntryHandler]],
) -> Relay:
    """Make the relay; its channel to the notifications service, if there is one, closes with ``scope``.

    ``handlers_of_features``: returns who else makes calls over the channel, by the kind of entry.
    """
    handlers: dict[str, EntryHandler] = {}
    if settings.sends_notifications:
        metrics.of_outbox(telemetry.registry, database, clock)
        client = await scope.resources.enter_async_context(
            NotificationsClient(settings, settings.notifications_address, telemetry.interceptors)
        )
        handlers[DELETE_USER_NOTIFICATIONS] = lambda entry: client.delete_user_notifications(
            entry.payload["user_id"], entry.id
        )
        handlers[SEND_NOTICE] = NoticeCourier(client, clock).carry
        handlers[LIFT_BOUNCE] = partial(lift_bounce, client)
        handlers |= handlers_of_features(client)
    return Relay(database, handlers, clock, poll=timedelta(milliseconds=settings.outbox_poll_ms))
