"""Puts the database together; for the composition root."""

from __future__ import annotations

from chassis.serving.lifecycle import Scope
from chassis.telemetry.start import Telemetry
from users_service.mysql import metrics
from users_service.mysql.database import Database
from users_service.mysql.settings import MySQLSettings


async def open_database(settings: MySQLSettings, scope: Scope, telemetry: Telemetry) -> Database:
    """Open the database of the calls; it closes with ``scope``."""
    database = Database(settings, telemetry.tracing)
    metrics.of_database(telemetry.registry, database)
    scope.resources.push_async_callback(database.close)
    await database.open()
    return database


async def ping_anew(settings: MySQLSettings) -> None:
    """Ping over a connection of its own, as ``Database.ping`` does over the pool's."""
    async with Database(settings) as database:
        await database.ping()
