"""Puts the database together; for the composition root."""

from __future__ import annotations

import asyncio
from typing import Final

from chassis.logs import logging, tracebacks
from chassis.serving.lifecycle import Scope
from chassis.settings import WrongSetting
from chassis.telemetry.start import Telemetry
from users_service.mysql import metrics
from users_service.mysql.database import Database
from users_service.mysql.server_kind import ServerRefused
from users_service.mysql.settings import MySQLSettings

# Seconds for which a server that may be away is waited for; later the health probe asks it.
_FIRST_LOOK_SECONDS: Final = 1.0

log = logging.get(__name__)


async def open_database(settings: MySQLSettings, scope: Scope, telemetry: Telemetry) -> Database:
    """Open the database of the calls; it closes with ``scope``.

    Raises WrongSetting where its server is known to be unsafe. One that is away does not stop the start.
    """
    database = Database(settings, telemetry.tracing)
    metrics.of_database(telemetry.registry, database)
    scope.resources.push_async_callback(database.close)
    await database.open()
    try:
        async with asyncio.timeout(_FIRST_LOOK_SECONDS):
            await database.meet()
    except ServerRefused as refusal:
        raise WrongSetting(f"MYSQL_HOST: {refusal}") from None
    except Exception as problem:  # noqa: BLE001 - health tells what keeps the database away, as soon as it is asked
        log.info("the database was not looked at yet", problem=tracebacks.summary(problem))
    return database


async def ping_anew(settings: MySQLSettings) -> None:
    """Ping over a connection of its own, as ``Database.ping`` does over the pool's."""
    async with Database(settings) as database:
        await database.ping()
