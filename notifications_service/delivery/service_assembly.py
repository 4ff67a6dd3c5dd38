"""Puts DeliveryService together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vibework.notifications.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server

from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock
from notifications_service.delivery.channels.templates import Templates
from notifications_service.delivery.direct import DirectMails, DirectRecipients
from notifications_service.delivery.facts import AddressBook
from notifications_service.delivery.reports import Reports
from notifications_service.delivery.service import DeliveryService
from notifications_service.delivery.servicer import DeliveryServicer
from notifications_service.delivery.settings import SendingSettings
from notifications_service.idempotency import IdempotencyKeys
from notifications_service.mongodb import newest_first
from notifications_service.mongodb.database import Database
from notifications_service.notification.retention import Retention
from notifications_service.outbox.direct import DirectSeal
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.suppressions.service import SuppressionService


@dataclass(frozen=True, slots=True)
class Asked:
    """What knows of users: their addresses, and whether they exist."""

    users: AddressBook
    recipients: DirectRecipients


def assemble(
    settings: SendingSettings,
    database: Database,
    outbox: OutboxRepository,
    retention: Retention,
    *,
    keyring: Keyring,
    asked: Asked,
    clock: MillisecondClock,
    stopping: Callable[[], bool],
) -> Registration:
    """Return DeliveryService with its registration. Raises WrongSetting for templates that cannot be used."""
    stored, hashes = DeliveryReads(database, retention, clock), AddressHashes(keyring)
    suppressions = SuppressionRepository(database, keyring)
    purposes = Templates(settings).purposes() if settings.smtp_host else None
    seal, keys = DirectSeal(keyring), IdempotencyKeys(database, clock)
    reports = Reports(database, stored, outbox, suppressions, users=asked.users, seal=seal, hashes=hashes, clock=clock)
    servicer = partly_built(DeliveryServicer)(
        DeliveryService(database, stored, outbox, clock=clock, stopping=stopping),
        reports,
        SuppressionService(suppressions, clock),
        DirectMails(database, outbox, keys, asked.recipients, keyring, purposes=purposes, clock=clock),
        pages=newest_first.pages(PageTokens(keyring)),
        hashes=hashes,
        clock=clock,
        max_attempts=settings.delivery_attempts,
    )
    return add_DeliveryServiceServicer_to_server, servicer
