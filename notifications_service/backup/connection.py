"""A connection for backups: PyMongo, whatever MONGODB_DRIVER says, with long timeouts, and errors in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from chassis.commands.cli import CommandFailed
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.driver_errors import in_one_line
from notifications_service.settings import DatabaseSettings

# Seconds for one command; without an answer for so long the server counts as gone.
COMMAND_SECONDS: Final = 600
# Documents of one answer; 16 MiB of them at most.
BATCH: Final = 5_000
_SNAPSHOT_TOO_OLD: Final = 239
_UNAUTHORIZED: Final = 13
# Documents pass through as they are.
RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)


class MongoFailed(CommandFailed):
    """The server refused a command, or is gone; the server's text is left out where it may repeat a document."""

    def __init__(self, error: Exception) -> None:
        if isinstance(error, OperationFailure) and error.code == _SNAPSHOT_TOO_OLD:
            what = (
                "reading took longer than the server keeps the snapshot: raise its "
                "minSnapshotHistoryWindowInSeconds (docs/backups.md) and try again"
            )
        else:
            what = in_one_line(error)
            if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED:
                what = f"{what}: the account lacks a role (docs/backups.md, Rights)"
        super().__init__(f"MongoDB failed: {what}")


@dataclass(frozen=True, slots=True)
class Connection:
    """The database of the settings, and a session that keeps cursors together."""

    database: AsyncDatabase[Document]
    session: AsyncClientSession

    @property
    def name(self) -> str:
        """The name of the database."""
        return self.database.name

    async def command(self, command: Document, *, seconds: float = COMMAND_SECONDS) -> Document:
        """Run a command on the primary. Raises ``MongoFailed``."""
        with translated(), pymongo.timeout(seconds):
            answer: Document = await self.database.command(command, session=self.session)
            return answer

    async def documents(self, command: Document) -> AsyncIterator[list[RawBSONDocument]]:
        """Run a command that answers with a cursor, and give back its documents as they arrive, some at a time."""
        cursor = await self._batch(command)
        collection, key = cursor["ns"].partition(".")[2], "firstBatch"
        while True:
            if batch := cursor[key]:
                yield list(batch)
            if not cursor["id"]:
                return
            cursor, key = await self._batch({"getMore": cursor["id"], "collection": collection}), "nextBatch"

    async def _batch(self, command: Document) -> Any:
        # Not pymongo.timeout: it would limit the whole cursor, and the server refuses a limit on getMore.
        with translated():
            async with asyncio.timeout(COMMAND_SECONDS):
                answer: Any = await self.database.command(command, codec_options=RAW, session=self.session)
                return answer["cursor"]


@asynccontextmanager
async def connected(settings: DatabaseSettings, database_name: str | None = None) -> AsyncIterator[Connection]:
    """Connect to the database of the settings, or to another one there, for as long as the context lasts.

    Raises ``MongoFailed``.
    """
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        settings.mongodb_url.get_secret_value(),
        appname="notifications-service backup",
        serverSelectionTimeoutMS=settings.mongodb_server_selection_timeout_ms,
        connectTimeoutMS=settings.mongodb_connect_timeout_ms,
    )
    async with client:
        with translated():
            name = database_name or client.get_default_database().name
            database = client.get_database(name, write_concern=WriteConcern("majority"))
            # A command with a time limit of its own would look for a primary for as long.
            await database.command("ping")
            async with client.start_session(causal_consistency=False) as session:
                yield Connection(database, session)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors, including those of encoding a command, into ``MongoFailed``."""
    try:
        yield
    except (PyMongoError, BSONError, OverflowError, RecursionError, TimeoutError) as error:
        raise MongoFailed(error) from error
