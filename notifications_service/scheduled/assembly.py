"""Puts the mover together; for the composition root."""

from __future__ import annotations

from datetime import timedelta

from chassis.background import running
from chassis.serving.lifecycle import Scope
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.database import Database
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.mover import Mover
from notifications_service.scheduled.repository import ScheduledRepository
from notifications_service.scheduled.settings import ScheduleSettings


async def open_mover(
    settings: ScheduleSettings, database: Database, outbox: OutboxRepository, clock: MillisecondClock, scope: Scope
) -> None:
    """Move what is due for as long as the process serves."""
    poll = timedelta(milliseconds=settings.schedule_poll_ms)
    mover = Mover(ScheduledRepository(database, outbox, clock), clock, poll=poll)
    await scope.resources.enter_async_context(running(mover.run()))
