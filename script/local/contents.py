"""The contents of the two databases: counted, in use by somebody, and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

import asyncmy
import asyncmy.errors
import pymongo
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri
from vibework.testing.local.problems import LocalProblem

from users_service.mysql.engines import connect_arguments
from users_service.settings import DatabaseSettings

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
# What notifications-service calls itself to MongoDB (its `appname`).
SERVICE_NAME = "notifications-service"


class Contents(Protocol):
    """One database on one server."""

    kind: str
    place: str
    name: str
    # What `connections` counts.
    whose: str

    def rows(self) -> dict[str, int]:
        """Count the rows of every table; raise `LocalProblem` where the server does not answer."""
        ...

    def connections(self) -> int:
        """Count the connections of others to the database."""
        ...

    def delete(self) -> None:
        """Leave an empty database of the same name, whether or not there was one."""
        ...


class MySQLContents:
    """A database of MySQL."""

    kind = "MySQL"

    def __init__(self, settings: DatabaseSettings) -> None:
        """Describe the database that the settings name."""
        self.name = settings.mysql_database
        self.place = f"{settings.mysql_host}:{settings.mysql_port}"
        self.whose = f"of others to {self.name}"
        # To the server alone: the database may be gone, if an earlier run was interrupted.
        self._arguments = {**connect_arguments(settings), "database": None, "autocommit": True}

    def rows(self) -> dict[str, int]:
        """Count the rows of every table."""
        return self._run(self._rows())

    def connections(self) -> int:
        """Count the connections of others that use the database."""
        # MySQL fails on information_schema.processlist while any statement on the server holds binary values.
        listed = self._run(self._query("SHOW PROCESSLIST"))
        # The one that asks has chosen no database.
        return sum(database == self.name for _, _, _, database, *_ in listed)

    def delete(self) -> None:
        """Drop the database and make it anew, with the character set it had."""
        self._run(self._delete())

    async def _rows(self) -> dict[str, int]:
        tables = await self._query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name", self.name
        )
        names = [str(table) for (table,) in tables]
        return {name: int((await self._query(f"SELECT COUNT(*) FROM {self._quoted(name)}"))[0][0]) for name in names}  # noqa: S608

    async def _delete(self) -> None:
        known = await self._query(
            "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
            " WHERE schema_name = %s",
            self.name,
        )
        character_set, collation = known[0] if known else ("utf8mb4", "utf8mb4_bin")
        await self._query(f"DROP DATABASE IF EXISTS `{self.name}`")
        await self._query(f"CREATE DATABASE `{self.name}` CHARACTER SET {character_set} COLLATE {collation}")

    async def _query(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async with self._cursor() as cursor:
            await cursor.execute(statement, arguments or None)
            return list(await cursor.fetchall()) if cursor.description else []

    @asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        connection = await asyncmy.connect(**self._arguments)
        try:
            async with connection.cursor() as cursor:
                yield cursor
        finally:
            await connection.ensure_closed()

    def _quoted(self, table: str) -> str:
        return f"`{self.name}`.`{table}`"

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await work

        try:
            return asyncio.run(bounded())
        except (asyncmy.errors.MySQLError, OSError) as error:
            # A driver's text names the account at most, never its password.
            detail = str(error.args[-1]) if error.args else ""
            raise LocalProblem(f"MySQL at {self.place}: {detail or type(error).__name__}") from None


class MongoContents:
    """A database of MongoDB."""

    kind = "MongoDB"
    # A connection does not tell which database it is for.
    whose = "of notifications services, for this database or another one there"

    def __init__(self, url: str) -> None:
        """Describe the database that the URL names."""
        self._url = url
        parsed = parse_uri(url)
        self.name = str(parsed["database"])
        self.place = ",".join(f"{host}:{port}" for host, port in parsed["nodelist"])

    def rows(self) -> dict[str, int]:
        """Count the documents of every collection, as its metadata says."""
        with self._database() as (_, database):
            names = sorted(database.list_collection_names(filter={"type": "collection"}))
            return {name: database[name].estimated_document_count() for name in names if not name.startswith("system.")}

    def connections(self) -> int:
        """Count the connections of notifications services to the server, idle ones too."""
        pipeline = [
            {"$currentOp": {"idleConnections": True, "allUsers": False}},
            {"$match": {"appName": SERVICE_NAME}},
            {"$count": "number"},
        ]
        with self._database() as (client, _):
            return sum(int(row["number"]) for row in client.admin.aggregate(pipeline))

    def delete(self) -> None:
        """Drop the database; MongoDB makes it anew when something is written."""
        with self._database() as (client, _):
            client.drop_database(self.name)

    @contextmanager
    def _database(self) -> Iterator[tuple[Any, Any]]:
        try:
            with pymongo.MongoClient[dict[str, Any]](
                self._url, serverSelectionTimeoutMS=5_000, timeoutMS=int(TIMEOUT_SECONDS * 1_000)
            ) as client:
                yield client, client[self.name]
        except PyMongoError as error:
            raise LocalProblem(f"MongoDB at {self.place}: {type(error).__name__}") from None
