"""Puts the methods for push together; for the composition root."""

from __future__ import annotations

from vibework.notifications.v1.preference_service_pb2_grpc import add_PreferenceServiceServicer_to_server

from chassis.contract.keyset import by_time_and_id
from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from notifications_service.clock import MillisecondClock
from notifications_service.idempotency import IdempotencyKeys
from notifications_service.mongodb.database import Database
from notifications_service.push_subscriptions.messages import Requests
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.push_subscriptions.service import PushSubscriptionService, SubscriberCheck
from notifications_service.push_subscriptions.servicer import PushSubscriptionServicer
from notifications_service.push_subscriptions.settings import PushSettings


def assemble(
    settings: PushSettings,
    database: Database,
    repository: PushSubscriptionRepository,
    recipients: SubscriberCheck,
    *,
    keyring: Keyring,
    clock: MillisecondClock,
) -> Registration:
    """Return the methods of PreferenceService for push, with their registration."""
    request_ids = IdempotencyKeys(database, clock)
    service = PushSubscriptionService(repository, request_ids, recipients, settings.push_keys)
    requests, pages = Requests(settings.endpoint_rules, clock), by_time_and_id(PageTokens(keyring))
    make = partly_built(PushSubscriptionServicer)
    return add_PreferenceServiceServicer_to_server, make(service, requests, pages, Seal(keyring))
