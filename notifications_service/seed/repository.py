"""All commands of seeding."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.context.statements import named
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.notification import schema


class SeedRepository:
    """Stores notifications as they are, without the rules of the feed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def has_any(self) -> bool:
        """Say whether there is any notification."""
        with self._database.limits():
            return await self._rows.find_one({}, {"_id": 1}) is not None

    @named
    async def insert(self, new: Sequence[Document]) -> None:
        """Store notifications in one round trip. Raises BulkWriteError where one exists already."""
        with self._database.limits():
            await self._rows.insert_many(new, ordered=False)
