"""All queries on the collections `preferences` and `categories`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.notification import schema
from notifications_service.preferences import model
from notifications_service.preferences.model import Category, Preferences

_BY_NAME: Final = {"_id": 1}


class PreferencesRepository:
    """Reads and writes preferences, one row for each user who has set any."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._rows = database.collection(schema.PREFERENCES)

    @named
    async def of_users(self, user_ids: Collection[str]) -> dict[str, Preferences]:
        """Return the preferences of each of the users; the defaults of those who never set any."""
        rows = await _rows_of(self._database, schema.PREFERENCES, user_ids)
        found = {row["_id"]: model.preferences_of(row) for row in rows}
        return {user_id: found.get(user_id) or Preferences(user_id) for user_id in user_ids}

    @named
    async def delete_of_user(self, user_id: str) -> None:
        """Delete a user's preferences; may be repeated."""
        query = {"_id": user_id}
        await self._database.run(lambda: self._rows.delete_one(query, collation=BYTEWISE), query)


class CategoriesRepository:
    """Reads and writes categories; one that was deleted keeps its row, and its rules."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._rows = database.collection(schema.CATEGORIES)

    @named
    async def by_names(self, names: Collection[str]) -> dict[str, Category]:
        """Return the category of each of the names, deleted ones included, and what one is that nobody registered."""
        rows = await _rows_of(self._database, schema.CATEGORIES, names)
        found = {row["_id"]: model.category_of(row) for row in rows}
        return {name: found.get(name) or Category(name) for name in names}


async def _rows_of(database: Database, collection: str, keys: Collection[str]) -> list[Document]:
    """Return those of the rows that exist, in one query unless they fill more than 16 MiB."""
    left, rows = sorted(keys), list[Document]()
    while left:
        query = {"_id": {"$in": left}}
        found = await database.find(collection, query, limit=len(left), hint="_id_", sort=_BY_NAME)
        rows += found.rows
        left = [key for key in left if key > found.rows[-1]["_id"]] if found.cut else []
    return rows
