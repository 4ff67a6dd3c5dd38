"""The calls that are measured, each as a function to await: over gRPC, or straight to a database or a processor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncmy
import pymongo
from argon2.low_level import Type, hash_secret_raw
from bson import ObjectId

from users_service.passwords.hasher import Passwords

Call = Callable[[int], Awaitable[object]]

TIMEOUT_SECONDS = 10.0
# As many as a service has by default.
POOL_SIZE = 10


class Caller(Protocol):
    """Something that can be called many times; sent to the process that calls it."""

    def open(self) -> Any:
        """Return a context manager that yields a ``Call``."""


@dataclass(frozen=True)
class MySQLCaller:
    """Runs one SELECT for one key, by the driver alone."""

    server: Mapping[str, str] = field(repr=False)
    statement: str
    keys: Sequence[Any] = field(repr=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Open the driver's own pool."""
        pool = await asyncmy.create_pool(
            host=self.server["MYSQL_HOST"],
            port=int(self.server["MYSQL_PORT"]),
            user=self.server["MYSQL_USER"],
            password=self.server["MYSQL_PASSWORD"],
            db=self.server["MYSQL_DATABASE"],
            autocommit=True,
            minsize=POOL_SIZE,
            maxsize=POOL_SIZE,
        )

        async def call(index: int) -> object:
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute(self.statement, (self.keys[index % len(self.keys)],))
                rows: object = await cursor.fetchall()
                return rows

        try:
            yield call
        finally:
            pool.terminate()
            await pool.wait_closed()


@dataclass(frozen=True)
class MongoCaller:
    """Runs one operation on the notifications collection, by PyMongo alone; ``keys`` are what it is given in turn."""

    url: str = field(repr=False)
    operation: str
    keys: Sequence[Any] = field(repr=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Open a client."""
        operation, keys = OPERATIONS[self.operation], self.keys
        async with pymongo.AsyncMongoClient[dict[str, Any]](self.url, maxPoolSize=POOL_SIZE) as client:
            rows = client.get_default_database()["notifications"]
            yield lambda index: operation(rows, keys[index % len(keys)])


async def _find_one(rows: Any, key: ObjectId) -> object:
    return await rows.find_one({"_id": key})


async def _list(rows: Any, user_id: str) -> object:
    cursor = rows.find({"userId": user_id}, sort=[("createdAt", -1), ("_id", -1)], limit=20)
    return await cursor.to_list(20)


async def _count(rows: Any, user_id: str) -> object:
    group = {"_id": {"read": "$read", "seen": "$seen", "archived": "$archived"}, "n": {"$sum": 1}}
    cursor = await rows.aggregate([{"$match": {"userId": user_id}}, {"$group": group}], hint="feed_rows")
    return await cursor.to_list(None)


async def _insert(rows: Any, document: Mapping[str, Any]) -> object:
    return await rows.insert_one({**document, "_id": ObjectId()})


OPERATIONS: Mapping[str, Callable[[Any, Any], Awaitable[object]]] = {
    "find_one": _find_one,
    "list": _list,
    "count": _count,
    "insert": _insert,
}


@dataclass(frozen=True)
class HashCaller:
    """Hashes passwords by argon2-cffi in threads, as services commonly do, on every core; parameters as by default."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Start a thread per core."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            yield lambda _: loop.run_in_executor(threads, _hash)


def _hash() -> bytes:
    return hash_secret_raw(b"correct horse battery", b"0123456789abcdef", 2, 19_456, 1, 32, Type.ID)


@dataclass(frozen=True)
class PoolCaller:
    """Hashes passwords as the users service does, and does nothing else: the most that the cores can hash."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Call]:
        """Start a process per core."""
        with closing(Passwords(memory_kib=19_456, passes=2)) as passwords:
            yield lambda _: passwords.hash("correct horse battery")
