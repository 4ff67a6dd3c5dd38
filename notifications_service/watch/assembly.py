"""Assembly of the watch, for the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from chassis.keyring import Keyring
from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.database import Database
from notifications_service.notification.answers import Answers
from notifications_service.notification.as_of import AsOfTokens
from notifications_service.notification.retention import Retention
from notifications_service.notification.visibility import Visibility
from notifications_service.watch import change_stream, metrics
from notifications_service.watch.counts import Counts
from notifications_service.watch.events import Events
from notifications_service.watch.history import History
from notifications_service.watch.hub import Hub
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.service import WatchService
from notifications_service.watch.session import Sources
from notifications_service.watch.settings import WatchSettings
from notifications_service.watch.snapshot import Snapshots
from notifications_service.watch.tokens import ResumeTokens

# Seconds that the server waits for an event. While nothing happens, the position advances this often.
_WAIT: Final = 1.0


async def open_watches(
    settings: WatchSettings,
    database: Database,
    retention: Retention,
    *,
    keyring: Keyring,
    made: Answers,
    clock: MillisecondClock,
    scope: Scope,
    registry: Registry,
) -> WatchService:
    """Return the watches of a process; every one has ended when ``scope`` closes. The rest as ``watch_service``."""
    limits = WatchLimits.of(settings, catch_ups=settings.watch_max_catch_ups)
    watches = await scope.resources.enter_async_context(
        watch_service(database, retention.visibility, keyring, limits, scope.draining, made=made, clock=clock)
    )
    metrics.of_watches(registry, watches)
    return watches


@asynccontextmanager
async def watch_service(
    database: Database,
    shown: Callable[[], Visibility],
    keyring: Keyring,
    limits: WatchLimits,
    draining: asyncio.Event,
    *,
    made: Answers,
    clock: MillisecondClock,
) -> AsyncIterator[WatchService]:
    """Run the watches of a process; every watch has ended when the context is left.

    ``database``: must keep a connection for the shared stream; each history takes one of those that are lent.
    ``shown``: tells which notifications are shown now.
    ``draining``: once set, every watch ends with SHUTTING_DOWN.
    """
    tokens = ResumeTokens(keyring)
    events = Events(tokens, AsOfTokens(keyring), shown, made)
    snapshots, counts = Snapshots(database, shown), Counts(database, shown, limits.outage)
    opened = partial(change_stream.opened, database, wait=_WAIT)
    hub = Hub(opened, snapshots.now, events.of, limits, draining, clock=clock)
    # The calls keep half of the connections, however many watchers resume.
    at_once = min(limits.catch_ups, max(1, database.places // 2))
    sources = Sources(hub, History(database, at_once, limits.chunk), snapshots, events, counts)
    try:
        yield WatchService(sources, tokens, limits)
    finally:
        await hub.close()
