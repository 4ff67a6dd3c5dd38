"""The TTL index: it gets the retention of the setting, and never a shorter one in between.

If the setting is set, it decides. If not, the index keeps the retention that it has, and a default that would delete
existing documents is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from chassis.commands.cli import CommandFailed
from chassis.commands.migrations import Say
from notifications_service.migrations import declared, indexes
from notifications_service.migrations.indexes import Indexes
from notifications_service.migrations.state import indexes_of
from notifications_service.mongodb import codec
from notifications_service.notification import retention, schema
from notifications_service.notification.retention import DAY
from notifications_service.notification.schema import Index

SETTING: Final = "NOTIFICATIONS_RETENTION_DAYS"
DEFAULT_DAYS: Final = 30
_INDEX: Final = Index(schema.TTL_INDEX, (("createdAt", 1),))
# Counting stops here: the exact number of more documents does not matter.
_COUNTED: Final = 100_000


class WouldExpire(CommandFailed):
    """No retention is set, and the default would delete existing documents."""


async def check(database: Any, found: Indexes, days: int | None, now: datetime) -> None:
    """Check that the index can be made; ``days``: the setting, None where it is not set; ``now``: naive, in UTC.

    Raises IndexInTheWay, or WouldExpire where the default would delete existing documents.
    """
    indexes.check(schema.COLLECTION, _INDEX, found)
    if days is not None or _seconds(found) is not None:
        return
    if await database[schema.COLLECTION].find_one(_past(now, DEFAULT_DAYS * DAY), {"_id": 1}):
        raise WouldExpire(
            f"{schema.COLLECTION} has documents older than {DEFAULT_DAYS} days, which would be deleted: say in "
            f"{SETTING} how many days they are to be kept. Nothing was changed"
        )


async def keep(database: Any, found: Indexes, days: int | None, say: Say, now: datetime) -> None:
    """Bring the index to the setting, and say what changes; ``days`` and ``now`` as in ``check``.

    What is kept for as long as notifications are follows.
    """
    await _keep(database, found, days, say, now)
    await _follow(database)


async def _follow(database: Any) -> None:
    seconds = await retention.stored_seconds(database[schema.COLLECTION])
    for collection, name in declared.KEPT_ALIKE.items():
        there = await indexes_of(database, collection)
        if not there or there.get(name, {}).get("expireAfterSeconds") == seconds:
            continue
        if name in there:
            await database.command("collMod", collection, index={"name": name, "expireAfterSeconds": seconds})
            continue
        keys = next(index.keys for index in declared.INDEXES[collection] if index.name == name)
        await database[collection].create_index(list(keys), name=name, expireAfterSeconds=seconds)


async def _keep(database: Any, found: Indexes, days: int | None, say: Say, now: datetime) -> None:
    before = _seconds(found)
    if days is None and before is not None:
        if before != DEFAULT_DAYS * DAY:
            say(f"retention: {_days(before)} days, as it was: {SETTING} is not set")
        return
    wanted = (days or DEFAULT_DAYS) * DAY
    if before == wanted:
        return
    if schema.TTL_INDEX in found:
        await _announce(database, before, wanted, say, now)
        await retention.store(database, days or DEFAULT_DAYS)
        return
    say(f"retention: {_days(wanted)} days (index {schema.TTL_INDEX})")
    # Created with the right retention at once, so that the sweeper never sees another one.
    await database[schema.COLLECTION].create_index(list(_INDEX.keys), name=schema.TTL_INDEX, expireAfterSeconds=wanted)


async def _announce(database: Any, before: int | None, wanted: int, say: Say, now: datetime) -> None:
    say(f"retention: {'none' if before is None else _days(before)} → {_days(wanted)} days")
    if before is not None and before < wanted:
        return
    past = _past(now, wanted)
    number = await database[schema.COLLECTION].count_documents(past, limit=_COUNTED + 1, hint=schema.TTL_INDEX)
    if number:
        many = f"over {_COUNTED:,}" if number > _COUNTED else f"{number:,}"
        say(f"notifications past it, which MongoDB deletes: {many}")


def _seconds(found: Indexes) -> int | None:
    seconds = found.get(schema.TTL_INDEX, {}).get("expireAfterSeconds")
    return None if seconds is None else int(seconds)


def _days(seconds: int) -> str:
    return f"{seconds / DAY:g}"


def _past(now: datetime, seconds: int) -> codec.Document:
    return {"createdAt": {"$lte": now - timedelta(seconds=seconds)}}
