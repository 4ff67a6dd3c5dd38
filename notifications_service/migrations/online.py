"""Online migrations: steps get a database that refuses operations which would block or flood a big collection.

MongoDB builds indexes beside reads and writes, and carries out ``collMod`` at once. Two kinds of operations remain. A
few commands lock a collection for as long as they run. And writes of very many documents, although they lock one
document at a time, make members and watchers fall behind, and stay half done if they are interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo.operations import DeleteMany, UpdateMany

from chassis.commands.migrations import LockLimits, WouldLock, WouldLose

# Commands that lock the collection, or write a whole new one.
_HOLDING: Final = frozenset(
    {"compact", "reIndex", "convertToCapped", "cloneCollectionAsCapped", "validate", "update", "delete", "mapReduce"}
)
_WRITING_STAGES: Final = frozenset({"$out", "$merge"})
# Milliseconds for finding out how many documents a write would change.
_LOOKING: Final = 30_000


class Online:
    """A database whose collections refuse such operations; everything else is the driver's own."""

    def __init__(self, database: Any, limits: LockLimits, *, keeps_documents: bool = False) -> None:
        """``keeps_documents``: refuse to drop a collection that is not empty."""
        self._database = database
        self._limits = limits
        self._keeps_documents = keeps_documents

    def __getattr__(self, name: str) -> Any:
        return self._wrapped(getattr(self._database, name))

    def __getitem__(self, name: str) -> Any:
        return self._wrapped(self._database[name])

    def get_collection(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return a collection."""
        return self._wrapped(self._database.get_collection(name, *arguments, **options))

    async def create_collection(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Make a collection and return it."""
        return self._wrapped(await self._database.create_collection(name, *arguments, **options))

    async def drop_collection(self, collection: Any, *arguments: Any, **options: Any) -> Any:
        """Drop a collection. Raises WouldLose."""
        name = collection if isinstance(collection, str) else collection.name
        await self.check_drop(name)
        return await self._database.drop_collection(name, *arguments, **options)

    async def check_drop(self, collection: str) -> None:
        """Raise WouldLose where documents would be lost that must be kept."""
        if self._keeps_documents and await self.holds_documents(collection):
            raise WouldLose([collection])

    async def holds_documents(self, collection: str) -> bool:
        """Say whether a collection has any document."""
        return await self._database[collection].find_one({}, {"_id": 1}) is not None

    async def command(self, command: Any, value: Any = 1, *arguments: Any, **options: Any) -> Any:
        """Run a command. Raises WouldLock or WouldLose."""
        name = command if isinstance(command, str) else next(iter(command))
        target = value if isinstance(command, str) else command[name]
        if name == "drop":
            await self.check_drop(target)
        if name in _HOLDING and isinstance(target, str):
            await self._refuse(target, f"the command {name}, which is not known to leave a collection usable")
        if name == "aggregate" and isinstance(target, str):
            stages = options.get("pipeline", ()) if isinstance(command, str) else command.get("pipeline", ())
            await self.check_pipeline(target, stages)
        return await self._database.command(command, value, *arguments, **options)

    async def check_pipeline(self, collection: str, pipeline: Sequence[Any]) -> None:
        """Raise WouldLock where a pipeline over a big collection writes."""
        if writing := [stage for stage in pipeline if _WRITING_STAGES & set(stage)]:
            await self._refuse(collection, f"an aggregation that ends in {next(iter(writing[0]))}")

    async def check_write(self, collection: str, what: str, query: Any) -> None:
        """Raise WouldLock where a write would change very many documents of a big collection."""
        rows = await self._rows(collection)
        if self._limits.allow_locking or rows <= self._limits.big:
            return
        most = self._limits.batch
        # The server stops counting at one more than is allowed.
        counted = await self._database[collection].count_documents(query, limit=most + 1, maxTimeMS=_LOOKING)
        if counted > most:
            raise WouldLock(collection, rows, f"{what} of more than {most:,} documents at once")

    async def _refuse(self, collection: str, what: str) -> None:
        rows = await self._rows(collection)
        if not self._limits.allow_locking and rows > self._limits.big:
            raise WouldLock(collection, rows, what)

    async def _rows(self, collection: str) -> int:
        return int(await self._database[collection].estimated_document_count())

    def _wrapped(self, value: Any) -> Any:
        # Collections are known by what they can do: Motor's are of another class than PyMongo's.
        return _OnlineCollection(value, self) if hasattr(type(value), "update_many") else value


class _OnlineCollection:
    """A collection of such a database."""

    def __init__(self, collection: Any, database: Online) -> None:
        self._collection = collection
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def with_options(self, *arguments: Any, **options: Any) -> Any:
        """Return the same collection with other options."""
        return _OnlineCollection(self._collection.with_options(*arguments, **options), self._database)

    async def drop(self, *arguments: Any, **options: Any) -> Any:
        """Drop the collection. Raises WouldLose."""
        await self._database.check_drop(self._collection.name)
        return await self._collection.drop(*arguments, **options)

    async def update_many(self, query: Any, *arguments: Any, **options: Any) -> Any:
        """Change documents. Raises WouldLock."""
        await self._database.check_write(self._collection.name, "update_many", query)
        return await self._collection.update_many(query, *arguments, **options)

    async def delete_many(self, query: Any, *arguments: Any, **options: Any) -> Any:
        """Delete documents. Raises WouldLock."""
        if not query:
            await self._database.check_drop(self._collection.name)
        await self._database.check_write(self._collection.name, "delete_many", query)
        return await self._collection.delete_many(query, *arguments, **options)

    async def bulk_write(self, requests: Sequence[Any], *arguments: Any, **options: Any) -> Any:
        """Carry out several writes. Raises WouldLock."""
        for request in requests:
            if isinstance(request, UpdateMany | DeleteMany):
                what = f"bulk_write with {type(request).__name__}"
                # The driver's requests have no public way to their query.
                await self._database.check_write(self._collection.name, what, request._filter)  # noqa: SLF001
        return await self._collection.bulk_write(requests, *arguments, **options)

    async def aggregate(self, pipeline: Sequence[Any], *arguments: Any, **options: Any) -> Any:
        """Run an aggregation and return its cursor. Raises WouldLock."""
        await self._database.check_pipeline(self._collection.name, pipeline)
        # Motor's returns the cursor itself.
        cursor = self._collection.aggregate(pipeline, *arguments, **options)
        return await cursor if hasattr(cursor, "__await__") else cursor
