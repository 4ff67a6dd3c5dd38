"""Replication sections: how far the members of the replica set are behind, and how far the oplog reaches back."""

from __future__ import annotations

from typing import Any, Final

from bson import Timestamp

from chassis.commands.report import NotAvailable, Section
from notifications_service.mongodb.database import Database

_PRIMARY: Final = 1
_OPLOG: Final = "oplog.rs"


async def replication(database: Database) -> Section:
    """Return the members and their lag behind the primary."""
    status = await database.driver.client.admin.command("replSetGetStatus")
    newest = max((member["optimeDate"] for member in status["members"] if member["state"] == _PRIMARY), default=None)
    rows = [_member(member, newest) for member in status["members"]]
    return Section("replication", rows, [] if newest else ["no member is primary: nothing can be written"])


def _member(member: dict[str, Any], newest: Any) -> dict[str, Any]:
    at = member.get("optimeDate")
    known = newest is not None and at is not None
    return {
        "member": member["name"],
        "state": member["stateStr"],
        "healthy": member["health"] == 1,
        "lag_seconds": max(0.0, (newest - at).total_seconds()) if known else None,
        "up_seconds": member.get("uptime"),
    }


async def oplog(database: Database) -> Section:
    """Return how long a watcher, or a member, may be away and can still resume."""
    local = database.driver.client.local
    first, last = await _end(local, 1), await _end(local, -1)
    if first is None or last is None:
        raise NotAvailable("the server keeps no oplog: it is no member of a replica set")
    stats = await local.command({"aggregate": _OPLOG, "pipeline": [{"$collStats": {"storageStats": {}}}], "cursor": {}})
    storage = stats["cursor"]["firstBatch"][0]["storageStats"]
    row = {
        "holds_seconds": last.time - first.time,
        "first": first.as_datetime(),
        "last": last.as_datetime(),
        "used_bytes": storage["size"],
        "limit_bytes": storage.get("maxSize"),
    }
    return Section("oplog", [row], ["once it is full, what it holds is as long as a resume token or a member lasts"])


async def _end(local: Any, direction: int) -> Timestamp | None:
    command = {
        "find": _OPLOG,
        "sort": {"$natural": direction},
        "projection": {"ts": 1},
        "limit": 1,
        "singleBatch": True,
    }
    found = (await local.command(command))["cursor"]["firstBatch"]
    return found[0]["ts"] if found else None
