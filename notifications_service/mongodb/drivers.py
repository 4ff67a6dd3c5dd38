"""Drivers: the methods in which PyMongo's async API and Motor differ; all others are the same.

Motor reached its end of life in May 2026, and is still supported by a setting. Its objects are typed as PyMongo's,
which describe them well enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import ConfigurationError, PyMongoError

from notifications_service.mongodb.codec import Document

MongoClient: TypeAlias = AsyncMongoClient[Document]
Collection: TypeAlias = AsyncCollection[Document]
DriverChangeStream: TypeAlias = AsyncCollectionChangeStream[Document]
ClientSession: TypeAlias = AsyncClientSession
Pipeline: TypeAlias = Sequence[Mapping[str, Any]]


class Driver(Protocol):
    """The methods that both drivers have here."""

    client: MongoClient

    async def watch(self, collection: Collection, pipeline: Pipeline, **options: Any) -> DriverChangeStream:
        """Open a change stream."""
        ...

    async def start_session(self) -> ClientSession:
        """Start a session; close it with ``async with``."""
        ...

    async def begin(self, session: ClientSession) -> None:
        """Begin a transaction of the session, of which the server hears with its first statement."""
        ...

    async def look_up(self) -> None:
        """Look up the members that ``mongodb+srv://`` stands for. Raises ConfigurationError where DNS has no answer.

        Not twice at a time: the driver would begin to watch the members twice.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class PyMongoDriver:
    """PyMongo's async API."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.client: MongoClient = AsyncMongoClient(url, **options)

    async def watch(self, collection: Collection, pipeline: Pipeline, **options: Any) -> DriverChangeStream:
        """Open a change stream."""
        return await collection.watch(pipeline, **options)

    async def start_session(self) -> ClientSession:
        """Start a session; close it with ``async with``."""
        return self.client.start_session()

    async def begin(self, session: ClientSession) -> None:
        """Begin a transaction of the session."""
        await session.start_transaction()

    async def look_up(self) -> None:
        """Look up the members of the URL."""
        await self.client.aconnect()

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()


class MotorDriver:
    """Motor: PyMongo's blocking API in threads."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        from motor.motor_asyncio import AsyncIOMotorClient

        self._motor: Any = AsyncIOMotorClient(url, **options)
        self.client: MongoClient = cast("MongoClient", self._motor)

    async def watch(self, collection: Collection, pipeline: Pipeline, **options: Any) -> DriverChangeStream:
        """Open a change stream; Motor connects it at the first read."""
        return cast("DriverChangeStream", cast("Any", collection).watch(pipeline, **options))

    async def start_session(self) -> ClientSession:
        """Start a session; close it with ``async with``."""
        return cast("ClientSession", await self._motor.start_session())

    async def begin(self, session: ClientSession) -> None:
        """Begin a transaction of the session."""
        cast("Any", session).start_transaction()

    async def look_up(self) -> None:
        """Look up the members of the URL, by the first command, since Motor has no other way."""
        try:
            await self._motor.admin.command("ping")
        except ConfigurationError:
            raise
        except PyMongoError:
            # The members are known, and none answers.
            return

    async def close(self) -> None:
        """Close every connection."""
        self._motor.close()


def connect(name: str, url: str, options: Mapping[str, Any]) -> Driver:
    """Make the driver of that name (`pymongo` or `motor`); it connects when first used."""
    return MotorDriver(url, options) if name == "motor" else PyMongoDriver(url, options)
