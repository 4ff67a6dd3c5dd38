"""A lock in the database, held by a lease, so that two processes never migrate at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from chassis.commands.cli import CommandFailed

COLLECTION: Final = "migration_lock"
LEASE: Final = 30.0
_POLL: Final = 0.2
_LONG_AGO: Final = datetime(1970, 1, 1)  # noqa: DTZ001


class Locked(CommandFailed):
    """Another process holds the lock and did not let go in time."""


class LockLost(CommandFailed):
    """The lease could not be renewed, so another process may be migrating by now."""


@asynccontextmanager
async def lock(database: Any, patience: float) -> AsyncIterator[None]:
    """Hold the lock; wait up to ``patience`` seconds for it. Raises ``Locked``, or ``LockLost`` inside."""
    owner = str(uuid.uuid4())
    await _acquire(database[COLLECTION], owner, patience)
    task = asyncio.current_task()
    renewal = asyncio.create_task(_renew(database[COLLECTION], owner, task))
    try:
        yield
    except asyncio.CancelledError:
        if task is not None and renewal.done() and not renewal.cancelled():
            task.uncancel()
            raise LockLost("the lock was lost while migrating; see `migrate status`") from None
        raise
    finally:
        renewal.cancel()
        await asyncio.wait((renewal,))
        await database[COLLECTION].delete_one({"_id": "lock", "owner": owner})


async def _acquire(collection: Any, owner: str, patience: float) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience
    while not await _take(collection, owner):
        if loop.time() > give_up:
            raise Locked(f"another process is migrating; gave up after {patience:.0f} s")
        await asyncio.sleep(_POLL)


async def _take(collection: Any, owner: str) -> bool:
    """Take the lock if it is free; one statement, so two that try at once cannot both get it."""
    free = {"$lt": [{"$ifNull": ["$expiresAt", _LONG_AGO]}, "$$NOW"]}
    fields = {name: {"$cond": [free, value, f"${name}"]} for name, value in _lease(owner).items()}
    try:
        found = await collection.find_one_and_update(
            {"_id": "lock"}, [{"$set": fields}], upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:
        # Another process inserted the document at the same time, and was first.
        return False
    return bool(found["owner"] == owner)


async def _renew(collection: Any, owner: str, task: asyncio.Task[Any] | None) -> None:
    while True:
        await asyncio.sleep(LEASE / 3)
        try:
            result = await collection.update_one({"_id": "lock", "owner": owner}, [{"$set": _lease(owner)}])
            held = result.matched_count == 1
        except PyMongoError:
            held = False
        if not held and task is not None:
            task.cancel()
            return


def _lease(owner: str) -> dict[str, Any]:
    # Both times are the server's: the clocks of other machines may differ.
    return {"owner": owner, "expiresAt": {"$add": ["$$NOW", int(LEASE * 1000)]}}
