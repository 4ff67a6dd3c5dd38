"""Running a command's work with an open database; a failure ends the process with one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pymongo.errors import OperationFailure, PyMongoError

from chassis.commands.cli import CommandFailed, fail, run_interruptibly, unforeseen
from chassis.errors import ServiceError
from chassis.logs import tracebacks
from chassis.schema import SchemaLacking
from notifications_service.mongodb.database import Database
from notifications_service.settings import DatabaseSettings

T = TypeVar("T")


def run(settings: DatabaseSettings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Open the database, carry out the work, and close it; a failure ends the process."""

    async def connected() -> T:
        database = Database(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        return run_interruptibly(connected())
    except (CommandFailed, SchemaLacking, ServiceError) as error:
        fail(str(error))
    except PyMongoError as error:
        name = (error.details or {}).get("codeName", "") if isinstance(error, OperationFailure) else ""
        fail(f"MongoDB failed: {tracebacks.summary(error)} {name}".rstrip())
    except Exception as error:  # noqa: BLE001 - told in one line
        fail(unforeseen(error))
