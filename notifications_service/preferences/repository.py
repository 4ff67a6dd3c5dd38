"""All queries on the collection `preferences`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.assigning import assigned
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.notification import schema
from notifications_service.preferences import model
from notifications_service.preferences.model import EntryKey, Mode, Preferences
from notifications_service.preferences.rows import AFTER, NEXT_REV, change_one, precondition_of, rows_of

# Says within a statement whether it changes anything; never stored.
_CHANGES: Final = "changes"


class PreferencesRepository:
    """Reads and writes preferences, one row for each user who has set any."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._rows = database.collection(schema.PREFERENCES)

    @named
    async def of_users(self, user_ids: Iterable[str]) -> dict[str, Preferences]:
        """Return the preferences of each of the users; the defaults of those who never set any."""
        rows = await rows_of(self._database, schema.PREFERENCES, user_ids)
        found = {row["_id"]: model.preferences_of(row) for row in rows}
        return {user_id: found.get(user_id) or Preferences(user_id) for user_id in user_ids}

    @named
    async def update(self, user_id: str, changes: Document, etag: str) -> Preferences | None:
        """Set fields of a user's preferences (None: a field is removed); return them, or None for another etag."""
        if (required := precondition_of(user_id, etag)) is None:
            return None
        pipeline = [{"$set": {**assigned(changes), "rev": NEXT_REV, "updatedAt": self._clock()}}]
        try:
            return await self._change(required.query, pipeline, upsert=required.upsert)
        except DuplicateKeyError:
            # It was to be new, and is not.
            return None

    @named
    async def set_entry(self, user_id: str, key: EntryKey, mode: Mode, most: int | None = None) -> Preferences:
        """Set a user's entry for a channel and category, in one statement; return the preferences.

        Where it is there with that mode, nothing changes. With ``most`` entries there is no further one: whether it
        was set is told by what is returned.
        """
        pipeline = _setting(model.entry(key, mode), most, self._clock())
        changed = await self._change({"_id": user_id}, pipeline, upsert=True)
        return changed or Preferences(user_id)

    @named
    async def touch_nobody(self, key: EntryKey, mode: Mode) -> None:
        """Proceed what ``set_entry`` sends, for a user whom there cannot be."""
        await self._change({"_id": ""}, _setting(model.entry(key, mode), None, self._clock()), upsert=False)

    @named
    async def remove_entry(self, user_id: str, key: EntryKey) -> Preferences | None:
        """Remove a user's entry for a channel and category; return the preferences, or None where there is none."""
        channel, category = key
        query = {"_id": user_id, "entries": {"$elemMatch": {"channel": channel, "category": category}}}
        change = {
            "$pull": {"entries": {"channel": channel, "category": category}},
            "$inc": {"rev": 1},
            "$set": {"updatedAt": self._clock()},
        }
        return await self._change(query, change, upsert=False)

    @named
    async def delete_of_user(self, user_id: str) -> None:
        """Delete a user's preferences; may be repeated."""
        query = {"_id": user_id}
        await self._database.run(lambda: self._rows.delete_one(query, collation=BYTEWISE), query)

    async def _change(self, query: Document, change: Any, *, upsert: bool) -> Preferences | None:
        row = await change_one(self._database, self._rows, query, change, upsert=upsert, **AFTER)
        return None if row is None else model.preferences_of(row)


def _setting(entry: Document, most: int | None, at: datetime) -> list[Document]:
    """Return the update that puts an entry in the place of the one for its channel and category, or after the last."""
    entries = {"$ifNull": ["$entries", []]}
    is_its = [{"$eq": [f"$$this.{name}", {"$literal": entry[name]}]} for name in ("channel", "category")]
    others = {"$filter": {"input": entries, "cond": {"$not": [{"$and": is_its}]}}}
    differs: Document = {"$not": [{"$in": [{"$literal": entry}, entries]}]}
    if most is not None:
        has_room = {"$lt": [{"$size": others}, most]}
        replaces = {"$lt": [{"$size": others}, {"$size": entries}]}
        differs = {"$and": [differs, {"$or": [has_room, replaces]}]}
    return [
        {"$set": {_CHANGES: differs}},
        {
            "$set": {
                "entries": {"$cond": [f"${_CHANGES}", {"$concatArrays": [others, [{"$literal": entry}]]}, "$entries"]},
                "rev": {"$cond": [f"${_CHANGES}", NEXT_REV, "$rev"]},
                "updatedAt": {"$cond": [f"${_CHANGES}", at, "$updatedAt"]},
            }
        },
        {"$unset": _CHANGES},
    ]
