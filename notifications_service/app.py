"""The composition root: the only place that wires the notifications service together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from chassis.background import running
from chassis.clock import Clock, utc_now
from chassis.context.statements import named
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable
from chassis.keyring import Keyring
from chassis.logs import logging
from chassis.schema import SchemaLacking
from chassis.serving.lifecycle import Scope, StartFailed
from chassis.serving.registration import Registration
from chassis.serving.server import Server, build_server
from chassis.slices import Slices
from chassis.telemetry.start import Telemetry
from chassis.telemetry.start import start as start_telemetry
from notifications_service.clock import MillisecondClock, in_milliseconds
from notifications_service.delivery import metrics, service_assembly
from notifications_service.delivery.assembly import Senders, new_sources, new_workers, working
from notifications_service.delivery.channels.assembly import open_mail_sender, open_push_sender
from notifications_service.delivery.digesting import keep_following
from notifications_service.delivery.service_assembly import Asked
from notifications_service.feed import assembly as feed
from notifications_service.feed.repository import FeedRepository
from notifications_service.migrations import state, steps
from notifications_service.migrations.steps import Step
from notifications_service.mongodb.assembly import new_readers, open_database
from notifications_service.mongodb.database import MONITORING, Database
from notifications_service.notification import schema, unbuilt
from notifications_service.notification.answers import Answers
from notifications_service.notification.retention import Retention
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.erasing import Eraser, erasing
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.preferences import assembly as preferences
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.push_subscriptions import assembly as push_subscriptions
from notifications_service.push_subscriptions.key_check import PushKeyCheck
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.recipients.assembly import new_check, open_users
from notifications_service.scheduled.assembly import open_mover
from notifications_service.settings import Settings
from notifications_service.users_client import UsersClient
from notifications_service.watch.assembly import open_watches

# What a gRPC client takes unless told otherwise. Whoever sends a larger batch takes its answer; reads are for everyone.
CLIENT_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every process of this service stands on: its database, keys, telemetry and time."""

    settings: Settings
    scope: Scope
    telemetry: Telemetry
    database: Database
    retention: Retention
    keyring: Keyring
    known: Sequence[Step]
    push_keys: PushKeyCheck
    now: MillisecondClock
    clock: Clock

    @classmethod
    async def open(cls, settings: Settings, scope: Scope, clock: Clock) -> Foundation:
        """Open it; it closes with ``scope``. Raises StartFailed as ``build``."""
        telemetry = await start_telemetry(settings, "notifications-service", scope)
        now = in_milliseconds(clock)
        database = open_database(settings, scope, telemetry)
        retention = Retention(database.collection(schema.COLLECTION), now)
        keyring = Keyring.parse(settings.secret_keys.get_secret_value())
        known, push_keys = steps.load(), PushKeyCheck(settings)
        await _check(database, retention, known, push_keys)
        return cls(settings, scope, telemetry, database, retention, keyring, known, push_keys, now, clock)

    def server(self, services: Sequence[Registration], **options: Any) -> Server:
        """Return a server of these services whose health follows the database; ``options``: of ``build_server``."""
        server = build_server(
            self.settings,
            services,
            probe=lambda: _probe(self.database, self.retention, self.known, self.push_keys),
            fresh=lambda: _probe_anew(self.settings, self.known, self.now, self.push_keys),
            draining=self.scope.draining,
            **options,
        )
        return self.telemetry.of_server(server)


async def build(settings: Settings, scope: Scope, *, clock: Clock = utc_now) -> Server:
    """Put the server together; ``await server.start()`` serves. What it opens closes with ``scope``.

    Raises StartFailed where MongoDB is no replica set, or a key is gone with which push subscriptions were made. A
    MongoDB that is away, or not migrated, does not stop the start: the server reports NOT_SERVING until it is there, or
    migrated.
    """
    base = await Foundation.open(settings, scope, clock)
    return base.server(
        await _services(base),
        observers=base.telemetry.observers,
        begin=base.telemetry.begin,
        unbuilt_fields=unbuilt.FIELDS,
    )


async def build_delivery(settings: Settings, scope: Scope, *, clock: Clock = utc_now) -> Server:
    """Put together a process that sends what goes out, and serves health and metrics alone; else as ``build``."""
    base = await Foundation.open(settings, scope, clock)
    users = await open_users(settings, scope, base.telemetry)
    repository = FeedRepository(base.database, base.retention, base.now)
    await _deliver(base, OutboxRepository(base.database, base.now), repository, users)
    return base.server(())


async def _deliver(
    base: Foundation, outbox: OutboxRepository, notifications: FeedRepository, users: UsersClient
) -> None:
    """Send what goes out, until the process drains."""
    settings, scope = base.settings, base.scope
    senders = Senders(
        open_mail_sender(settings, scope, clock=base.clock), open_push_sender(settings, scope, clock=base.clock)
    )
    sources = new_sources(base.database, notifications, users, base.keyring, base.now)
    registry = base.telemetry.registry
    workers = new_workers(settings, senders, outbox, sources, keyring=base.keyring, registry=registry)

    def wake() -> None:
        for worker in workers:
            worker.wake()

    outbox.stored = wake
    await scope.resources.enter_async_context(working(workers, scope, settings.grpc_grace_ms / 1000))


async def _services(base: Foundation) -> tuple[Registration, ...]:
    settings, scope, database, keyring, now = base.settings, base.scope, base.database, base.keyring, base.now
    users = await open_users(settings, scope, base.telemetry)
    recipients = new_check(settings, users)
    lists, counts = new_readers(settings, database, base.telemetry.registry)
    repository = FeedRepository(database, base.retention, now, lists=lists, counts=counts)
    timeout = settings.mongodb_query_timeout_ms / 1000
    slices = Slices()
    kept_preferences = PreferencesRepository(database, now)
    subscriptions = PushSubscriptionRepository(database, Seal(keyring), now)
    outbox = OutboxRepository(database, now)
    await open_mover(settings, database, outbox, now, scope)
    service = feed.new_service(
        database,
        repository,
        outbox,
        recipients,
        now,
        query_timeout=timeout,
        slices=slices,
        stopping=scope.draining.is_set,
    )
    metrics.of_outbox(base.telemetry.registry, outbox, now)
    if settings.delivery == "in-process":
        await _deliver(base, outbox, repository, users)
    await scope.resources.enter_async_context(erasing(Eraser(database, now)))
    await scope.resources.enter_async_context(running(keep_following(DigestRepository(database, outbox, now))))
    # What else is kept of a user.
    service.many.also_forget((kept_preferences.delete_of_user, subscriptions.delete_of_user))
    made = Answers(min(settings.grpc_max_message_bytes, CLIENT_MESSAGE_BYTES))
    watches = await open_watches(
        settings,
        database,
        base.retention,
        keyring=keyring,
        made=made,
        clock=now,
        scope=scope,
        registry=base.telemetry.registry,
    )
    largest = settings.grpc_max_message_bytes
    return (
        feed.assemble(service, watches, made, keyring=keyring, clock=now, max_message_bytes=largest, slices=slices),
        service_assembly.assemble(
            settings,
            database,
            outbox,
            base.retention,
            keyring=keyring,
            asked=Asked(users, recipients),
            clock=now,
            stopping=scope.draining.is_set,
        ),
        preferences.assemble(
            settings, kept_preferences, CategoriesRepository(database, now), recipients, keyring=keyring
        ),
        push_subscriptions.assemble(settings, database, subscriptions, recipients, keyring=keyring, clock=now),
    )


async def _check(database: Database, retention: Retention, known: Sequence[Step], push_keys: PushKeyCheck) -> None:
    try:
        await _probe(database, retention, known, push_keys)
    except (DatabaseUnavailable, CallDeadlineExceeded):
        logging.get(__name__).warning("MongoDB is away; serving begins when it is there")
    except SchemaLacking:
        # Health says so, and why, until it is migrated: the order of a rollout does not matter.
        return


@named
async def _probe(database: Database, retention: Retention, known: Sequence[Step], push_keys: PushKeyCheck) -> None:
    hello = await database.hello()
    database.writability.tell()
    # Transactions and change streams need a replica set; a router (isdbgrid) stands before some.
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StartFailed("MongoDB is not a replica set: start mongod with --replSet and initiate it")
    records = await database.run(partial(state.recorded, database.default))
    found = await database.run(partial(state.needed_indexes, database.default))
    retention.learn(found[schema.COLLECTION].get(schema.TTL_INDEX, {}))
    state.stand(known, records, found).require(state.SERVICE)
    await push_keys.check(database)


async def _probe_anew(
    settings: Settings, known: Sequence[Step], clock: MillisecondClock, push_keys: PushKeyCheck
) -> None:
    """Probe over a client of its own, which shares nothing with that of the calls."""
    database = Database(settings.model_copy(update={"mongodb_connection_pool_size": MONITORING + 1}))
    try:
        await _probe(database, Retention(database.collection(schema.COLLECTION), clock), known, push_keys)
    finally:
        await database.close()
