"""Puts exports of one person together; for the composition root and for the command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from chassis.peers.clients import open_peer_channel
from chassis.serving.lifecycle import Scope
from chassis.serving.registration import Registration, partly_built
from users_service.exports.notifications import READS, NotificationRecords
from users_service.exports.service import UserExports
from users_service.exports.servicer import ExportServicer
from users_service.outbox.settings import OutboxSettings
from users_service.parts import Parts
from users_service.users.reads import UserReads


@asynccontextmanager
async def open_others(
    settings: OutboxSettings, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
) -> AsyncIterator[NotificationRecords | None]:
    """Open a channel to the notifications service, if there is one, for as long as the context lasts."""
    if not settings.sends_notifications:
        yield None
        return
    channel = open_peer_channel(settings, settings.notifications_address, idempotent=READS, interceptors=interceptors)
    async with channel:
        yield NotificationRecords(channel)


async def assemble(
    settings: OutboxSettings,
    parts: Parts,
    reads: UserReads,
    scope: Scope,
    interceptors: Sequence[grpc.aio.ClientInterceptor],
) -> Registration:
    """Return the part of UserService that exports users, with its registration; its channel closes with ``scope``."""
    others = await scope.resources.enter_async_context(open_others(settings, interceptors))
    service = UserExports(parts.database, reads.get, others, parts.clock, parts.stopping)
    return add_UserServiceServicer_to_server, partly_built(ExportServicer)(service)
