"""The composition root: the only place that wires the notifications service together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import grpc
from vibework.notifications.v1 import (
    delivery_service_pb2_grpc,
    notification_service_pb2_grpc,
    preference_service_pb2_grpc,
)

from chassis.clock import Clock, utc_now
from chassis.context.statements import named
from chassis.contract.pagetokens import PageTokens
from chassis.errors import DatabaseUnavailable
from chassis.keyring import Keyring
from chassis.logs import logging
from chassis.peers.clients import open_peer_channel
from chassis.schema import SchemaLacking
from chassis.serving.lifecycle import Scope, StartFailed
from chassis.serving.server import Server, build_server
from chassis.telemetry.start import Telemetry
from chassis.telemetry.start import start as start_telemetry
from notifications_service import metrics
from notifications_service.clock import MillisecondClock, in_milliseconds
from notifications_service.feed.batching import SharedCommands
from notifications_service.feed.paging import pages_of_the_feed
from notifications_service.feed.repository import FeedRepository
from notifications_service.feed.service import FeedService, RecipientCheck
from notifications_service.feed.servicer import NotificationServicer
from notifications_service.idempotency import IdempotencyKeys
from notifications_service.migrations import state, steps
from notifications_service.migrations.steps import Step
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.secondaries import Secondaries, reader
from notifications_service.notification import schema
from notifications_service.notification.answers import Answers
from notifications_service.notification.retention import Retention
from notifications_service.recipients.check import Anyone, Recipients
from notifications_service.settings import Settings
from notifications_service.unbuilt import unbuilt
from notifications_service.users_client import BATCH_GET_USERS, UsersClient
from notifications_service.watch.assembly import watch_service
from notifications_service.watch.limits import WatchLimits

# What a document of the first answers to a batch may take, whatever GRPC_MAX_MESSAGE_BYTES says: MongoDB's limit
# is 16 MiB, and a stored notification is a little larger than one in an answer.
MAX_BATCH_BYTES = 12 * 1024 * 1024
# What a gRPC client takes unless told otherwise. Whoever sends a larger batch takes its answer; reads are for everyone.
CLIENT_MESSAGE_BYTES = 4 * 1024 * 1024
# Reads at the start of watches that run at once.
_SNAPSHOT_CONNECTIONS = 5


async def build(settings: Settings, scope: Scope, *, clock: Clock = utc_now) -> Server:
    """Put the server together; ``await server.start()`` serves. What it opens closes with ``scope``.

    Raises StartFailed where MongoDB is no replica set. A MongoDB that is away, or not migrated, does not stop the
    start: the server reports NOT_SERVING until it is there, or migrated.
    """
    telemetry = await start_telemetry(settings, "notifications-service", scope)
    database, watching = _databases(settings, scope, telemetry)
    now = in_milliseconds(clock)
    retention = Retention(database.collection(schema.COLLECTION), now)
    known = steps.load()
    await _check(database, retention, known)
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    recipients = await _recipients(settings, scope, telemetry)
    repository = _repository(settings, database, retention, now, telemetry)
    shared = SharedCommands(repository, settings.mongodb_query_timeout_ms / 1000)
    feed = FeedService(database, repository, shared, IdempotencyKeys(database, now), recipients, clock=now)
    limit = min(settings.grpc_max_message_bytes, MAX_BATCH_BYTES)
    made = Answers(min(settings.grpc_max_message_bytes, CLIENT_MESSAGE_BYTES))
    limits = _watch_limits(settings)
    watch = watch_service(watching, retention.cutoff, keyring, limits, scope.draining, made=made, clock=now)
    watches = await scope.resources.enter_async_context(watch)
    metrics.of_watches(telemetry.registry, watches)
    pages = pages_of_the_feed(PageTokens(keyring))
    servicer = NotificationServicer(feed, pages, watches, made=made, max_batch_bytes=limit, clock=now)
    server = build_server(
        settings,
        [
            (notification_service_pb2_grpc.add_NotificationServiceServicer_to_server, servicer),
            (
                delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server,
                unbuilt(delivery_service_pb2_grpc.DeliveryServiceServicer),
            ),
            (
                preference_service_pb2_grpc.add_PreferenceServiceServicer_to_server,
                unbuilt(preference_service_pb2_grpc.PreferenceServiceServicer),
            ),
        ],
        probe=lambda: _probe(database, retention, known),
        fresh=lambda: _probe_anew(settings, known, now),
        draining=scope.draining,
        observers=telemetry.observers,
        begin=telemetry.begin,
    )
    return telemetry.of_server(server)


def _repository(
    settings: Settings, database: Database, retention: Retention, clock: MillisecondClock, telemetry: Telemetry
) -> FeedRepository:
    secondaries = Secondaries(database, settings.mongodb_secondary_timeout_ms / 1000)
    metrics.of_secondaries(telemetry.registry, secondaries)
    lists, counts = (
        reader(database, secondaries, preference, settings.mongodb_max_staleness_seconds)
        for preference in (settings.mongodb_read_preference_list, settings.mongodb_read_preference_count)
    )
    return FeedRepository(database, retention, clock, lists=lists, counts=counts)


def _watch_limits(settings: Settings) -> WatchLimits:
    return WatchLimits(
        watchers=settings.watch_max_watchers,
        queue=settings.watch_queue_events,
        patience=settings.watch_patience_ms / 1000,
        catch_ups=settings.watch_max_catch_ups,
        outage=settings.watch_outage_ms / 1000,
    )


def _databases(settings: Settings, scope: Scope, telemetry: Telemetry) -> tuple[Database, Database]:
    """Return the database of the calls and that of the watches."""
    # Connections of its own: the shared stream and each history hold one, which the calls would lack.
    streams = 1 + settings.watch_max_catch_ups
    own = settings.model_copy(update={"mongodb_connection_pool_size": streams + _SNAPSHOT_CONNECTIONS})
    databases = Database(settings, telemetry.tracing), Database(own, telemetry.tracing, pool="watches", streams=streams)
    for database in databases:
        scope.resources.push_async_callback(database.close)
    metrics.of_databases(telemetry.registry, databases)
    return databases


async def _check(database: Database, retention: Retention, known: Sequence[Step]) -> None:
    try:
        await _probe(database, retention, known)
    except DatabaseUnavailable:
        logging.get(__name__).warning("MongoDB is away; serving begins when it is there")
    except SchemaLacking:
        # Health says so, and why, until it is migrated: the order of a rollout does not matter.
        return


@named
async def _probe(database: Database, retention: Retention, known: Sequence[Step]) -> None:
    hello = await database.hello()
    database.writability.tell()
    # Transactions and change streams need a replica set; a router (isdbgrid) stands before some.
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StartFailed("MongoDB is not a replica set: start mongod with --replSet and initiate it")
    records = await database.run(partial(state.recorded, database.default))
    found = await database.run(partial(state.indexes_of, database.default, schema.COLLECTION))
    retention.learn(found.get(schema.TTL_INDEX, {}))
    state.stand(known, records, found).require(state.SERVICE)


async def _probe_anew(settings: Settings, known: Sequence[Step], clock: MillisecondClock) -> None:
    """Probe over a client of its own, which shares nothing with that of the calls."""
    database = Database(settings.model_copy(update={"mongodb_connection_pool_size": 1}), pool="fresh")
    try:
        await _probe(database, Retention(database.collection(schema.COLLECTION), clock), known)
    finally:
        await database.close()


async def _recipients(settings: Settings, scope: Scope, telemetry: Telemetry) -> RecipientCheck:
    if settings.recipient_check == "off":
        return Anyone()
    timeout = settings.recipient_check_timeout_ms / 1000
    channel = await scope.resources.enter_async_context(_channel(settings, telemetry))
    client = UsersClient(channel, timeout)
    metrics.of_peer(telemetry.registry, client.breaker)
    return Recipients(
        client,
        timeout=timeout,
        known=settings.recipient_known_ms / 1000,
        unknown=settings.recipient_unknown_ms / 1000,
        lenient=settings.recipient_check == "accept-when-unavailable",
    )


def _channel(settings: Settings, telemetry: Telemetry) -> grpc.aio.Channel:
    interceptors = telemetry.interceptors
    return open_peer_channel(settings, settings.users_address, idempotent=[BATCH_GET_USERS], interceptors=interceptors)
