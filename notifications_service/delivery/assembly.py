"""Puts the workers together; for the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chassis.keyring import Keyring
from chassis.logs import logging
from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock
from notifications_service.delivery import metrics
from notifications_service.delivery.channels.channel import MailSender, PushSender
from notifications_service.delivery.channels.templates import Templates
from notifications_service.delivery.composing import MailMaker
from notifications_service.delivery.facts import EMAIL, AddressBook, FactSources, NotificationReader
from notifications_service.delivery.numbers import Numbers
from notifications_service.delivery.outlets import EmailOutlet, Outlet, PushOutlet
from notifications_service.delivery.rules import DeliveryRules
from notifications_service.delivery.settings import SendingSettings
from notifications_service.delivery.worker import Worker
from notifications_service.mongodb.database import Database
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.direct import DirectSeal
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.preferences.unsubscribe import UnsubscribeLinks
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.suppressions.repository import SuppressionRepository

# Deliveries by push that are sent at a time; each may be to several browsers.
PUSHES_AT_A_TIME: Final = 50


@dataclass(frozen=True, slots=True)
class Senders:
    """What sends; None: the channel is not set up here, and what goes out by it waits for a process where it is."""

    mail: MailSender | None = None
    push: PushSender | None = None


def new_sources(
    database: Database, notifications: NotificationReader, users: AddressBook, keyring: Keyring, clock: MillisecondClock
) -> FactSources:
    """Return what reads the facts of a batch."""
    return FactSources(
        notifications,
        users,
        PreferencesRepository(database, clock),
        CategoriesRepository(database, clock),
        SuppressionRepository(database, keyring),
        PushSubscriptionRepository(database, Seal(keyring), clock),
        DirectSeal(keyring),
        DigestRepository(database, OutboxRepository(database, clock), clock),
        clock,
    )


def new_workers(
    settings: SendingSettings,
    senders: Senders,
    outbox: OutboxRepository,
    sources: FactSources,
    *,
    keyring: Keyring,
    registry: Registry,
) -> list[Worker]:
    """Return a worker for each channel that is set up."""
    numbers, clock = Numbers(), sources.clock
    metrics.of_workers(registry, numbers)
    outlets: list[Outlet] = []
    if senders.mail is not None:
        maker, hashes = MailMaker(Templates(settings), UnsubscribeLinks(settings), sources.seal), AddressHashes(keyring)
        outlets.append(EmailOutlet(senders.mail, maker, hashes, clock, concurrency=settings.smtp_connections))
    if senders.push is not None:
        outlets.append(PushOutlet(senders.push, sources.subscriptions, clock, concurrency=PUSHES_AT_A_TIME))
    missing = {*metrics.CHANNELS} - {outlet.channel for outlet in outlets}
    if missing:
        logging.get(__name__).info("channels not set up: what goes out by them waits", channels=sorted(missing))
    return [_worker(settings, outlet, outbox, sources, numbers) for outlet in outlets]


def _worker(
    settings: SendingSettings,
    outlet: Outlet,
    outbox: OutboxRepository,
    sources: FactSources,
    numbers: Numbers,
) -> Worker:
    is_email = outlet.channel == EMAIL
    rate = settings.email_rate if is_email else settings.push_rate
    rules = DeliveryRules(
        outlet.channel, settings.delivery_attempts, unverified=is_email and settings.email_unverified == "send"
    )
    return Worker(
        outlet,
        outbox,
        sources,
        rules,
        poll=timedelta(milliseconds=settings.delivery_poll_ms),
        lease=timedelta(milliseconds=settings.delivery_lease_ms),
        numbers=numbers,
        admit=outbox.rate(outlet.channel, rate).take if rate else None,
    )


@asynccontextmanager
async def working(workers: Sequence[Worker], scope: Scope, grace: float) -> AsyncIterator[None]:
    """Run workers until the process drains; attempts that are under way then have ``grace`` seconds."""
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def end() -> None:
        await scope.draining.wait()
        await asyncio.gather(*(worker.stop(grace) for worker in workers), *running)

    ending = asyncio.create_task(end())
    try:
        yield
    finally:
        scope.draining.set()
        await ending
