"""Puts DeliveryService together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from vibework.notifications.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server

from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock
from notifications_service.delivery.facts import AddressBook
from notifications_service.delivery.reports import Reports
from notifications_service.delivery.service import DeliveryService
from notifications_service.delivery.servicer import DeliveryServicer
from notifications_service.mongodb import newest_first
from notifications_service.mongodb.database import Database
from notifications_service.notification.retention import Retention
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.suppressions.service import SuppressionService


def assemble(
    database: Database,
    outbox: OutboxRepository,
    retention: Retention,
    *,
    keyring: Keyring,
    users: AddressBook,
    clock: MillisecondClock,
    stopping: Callable[[], bool],
    max_attempts: int,
) -> Registration:
    """Return DeliveryService with its registration; ``max_attempts``: how often the worker tries."""
    stored, hashes = DeliveryReads(database, retention, clock), AddressHashes(keyring)
    suppressions = SuppressionRepository(database, keyring)
    reports = Reports(database, stored, outbox, suppressions, users=users, hashes=hashes, clock=clock)
    servicer = partly_built(DeliveryServicer)(
        DeliveryService(database, stored, outbox, clock=clock, stopping=stopping),
        reports,
        SuppressionService(suppressions, clock),
        pages=newest_first.pages(PageTokens(keyring)),
        hashes=hashes,
        clock=clock,
        max_attempts=max_attempts,
    )
    return add_DeliveryServiceServicer_to_server, servicer
