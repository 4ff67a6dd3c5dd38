"""Puts NotificationService together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from vibework.notifications.v1.notification_service_pb2_grpc import add_NotificationServiceServicer_to_server

from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from chassis.slices import Slices
from notifications_service.clock import MillisecondClock
from notifications_service.feed.batching import SharedCommands
from notifications_service.feed.many_rows import ManyRows
from notifications_service.feed.paging import pages_of_the_feed
from notifications_service.feed.places import Places
from notifications_service.feed.repository import FeedRepository
from notifications_service.feed.service import FeedService, RecipientCheck
from notifications_service.feed.servicer import NotificationServicer, Watch
from notifications_service.feed.storing import Storing
from notifications_service.idempotency import IdempotencyKeys
from notifications_service.mongodb.database import Database
from notifications_service.notification.answers import Answers
from notifications_service.notification.as_of import AsOfTokens
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.repository import ScheduledRepository

# What a document of the first answers to a batch may take, whatever GRPC_MAX_MESSAGE_BYTES says: MongoDB's limit
# is 16 MiB, and a stored notification is a little larger than one in an answer.
MAX_BATCH_BYTES = 12 * 1024 * 1024


def new_service(
    database: Database,
    repository: FeedRepository,
    outbox: OutboxRepository,
    recipients: RecipientCheck,
    clock: MillisecondClock,
    *,
    query_timeout: float,
    slices: Slices,
    stopping: Callable[[], bool],
) -> FeedService:
    """Return the feed; ``query_timeout``: seconds that a shared command may take"""
    shared = SharedCommands(repository, query_timeout)
    keys, scheduled = IdempotencyKeys(database, clock), ScheduledRepository(database, outbox, clock)
    storing = Storing(database, repository, outbox, scheduled, keys, timeout=query_timeout, slices=slices)
    places = Places(shared, repository, scheduled, outbox)
    many = ManyRows(repository, places, recipients, stopping)
    return FeedService(repository.counts, shared, places, storing, recipients, clock=clock, slices=slices, many=many)


def assemble(
    feed: FeedService,
    watches: Watch,
    made: Answers,
    *,
    keyring: Keyring,
    clock: MillisecondClock,
    max_message_bytes: int,
    slices: Slices,
) -> Registration:
    """Return NotificationService with its registration."""
    limit = min(max_message_bytes, MAX_BATCH_BYTES)
    pages = pages_of_the_feed(PageTokens(keyring))
    make = partly_built(NotificationServicer)
    as_of = AsOfTokens(keyring)
    servicer = make(feed, pages, watches, as_of, made=made, max_batch_bytes=limit, clock=clock, slices=slices)
    return add_NotificationServiceServicer_to_server, servicer
