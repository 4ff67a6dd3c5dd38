"""Puts the watch together; for the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from chassis import background
from chassis.serving.lifecycle import Scope
from chassis.serving.registration import Registration, partly_built
from chassis.telemetry.registry import Registry
from users_service.events.repository import RECORDED
from users_service.events.sequencer import Sequencer
from users_service.parts import Parts
from users_service.watch import metrics
from users_service.watch.history import History
from users_service.watch.hub import Hub
from users_service.watch.limits import WatchLimits
from users_service.watch.messages import Responses
from users_service.watch.service import WatchService
from users_service.watch.servicer import WatchServicer
from users_service.watch.session import Sources
from users_service.watch.settings import WatchSettings
from users_service.watch.tokens import ResumeTokens


async def open_watches(settings: WatchSettings, parts: Parts, scope: Scope, registry: Registry) -> Registration:
    """Return WatchUsers with its registration; every watch has ended when ``scope`` closes."""
    sequencer, tokens, limits = (
        Sequencer(parts.database),
        ResumeTokens(parts.keyring),
        WatchLimits.of(settings, poll=settings.watch_poll_ms / 1000),
    )
    responses = Responses(tokens)
    hub = Hub(sequencer, responses, limits, scope.draining)
    parts.database.commits.listen(RECORDED, hub.wake)
    await scope.resources.enter_async_context(_running(hub))
    service = WatchService(Sources(hub, History(sequencer), responses), tokens, limits)
    metrics.of_watches(registry, service, sequencer)
    metrics.of_events(registry, parts.database, parts.clock)
    return add_UserServiceServicer_to_server, partly_built(WatchServicer)(service)


@asynccontextmanager
async def _running(hub: Hub) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(hub.end_with_drain())]
    try:
        yield
    finally:
        hub.close()
        await background.end(tasks)
