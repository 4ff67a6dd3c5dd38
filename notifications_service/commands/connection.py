"""An open database for a command's work, and what a person is told where MongoDB fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from pymongo.errors import PyMongoError

from chassis.commands.cli import CommandFailed
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.driver_errors import in_one_line
from notifications_service.settings import DatabaseSettings


@asynccontextmanager
async def opened(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the database, and close it in the end. Raises CommandFailed where the driver fails in between."""
    with failures_told():
        database = Database(settings)
        try:
            yield database
        finally:
            await database.close()


@contextmanager
def failures_told() -> Iterator[None]:
    """Raise CommandFailed, which says in one line what failed, in place of errors of the driver."""
    try:
        yield
    except PyMongoError as error:
        raise CommandFailed(f"MongoDB failed: {in_one_line(error)}") from error
