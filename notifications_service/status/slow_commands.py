"""The slow commands of the last hour, grouped by shape, from the log that the server keeps in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.clock import Clock
from chassis.commands.report import Section
from notifications_service.mongodb.database import Database
from notifications_service.status.shapes import shape

SHOWN: Final = 10
_HOUR: Final = timedelta(hours=1)


async def slow_commands(database: Database, clock: Clock) -> Section:
    """Return the shapes that took the most time together, among those over the server's own threshold (`slowms`)."""
    answer = await database.driver.client.admin.command({"getLog": "global"})
    lines = [json.loads(line) for line in answer["log"]]
    now = clock()
    slow = [line for line in lines if line.get("msg") == "Slow query" and now - _time(line) <= _HOUR]
    rows = _grouped(_commands(slow, database.default.name))
    return Section("slow_commands", rows, [await _about(database, lines, now)])


async def _about(database: Database, lines: list[Any], now: datetime) -> str:
    # -1: read it without changing it.
    threshold = (await database.default.command({"profile": -1}))["slowms"]
    reach = min(now - _time(lines[0]), _HOUR).total_seconds() if lines else 0.0
    return f"commands over {threshold} ms, from the server's log (its last 1024 lines: {reach / 60:.0f} min)"


def _time(line: Any) -> datetime:
    return datetime.fromisoformat(line["t"]["$date"])


def _commands(lines: Iterable[Any], database: str) -> Iterator[dict[str, Any]]:
    """Yield the commands on the database's collections from log lines; lines that combine several are left out."""
    for line in lines:
        attributes = line["attr"]
        name, _, collection = attributes.get("ns", "").partition(".")
        if name == database and collection and not collection.startswith("$"):
            yield {**attributes, "collection": collection, "at": _time(line)}


def _grouped(commands: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for command in commands:
        text = shape(command.get("command", {}), command["type"])
        groups.setdefault((command["collection"], text, command.get("planSummary", "")), []).append(command)
    rows = [_row(key, found) for key, found in groups.items()]
    return sorted(rows, key=lambda row: -row["total_ms"])[:SHOWN]


def _row(key: tuple[str, str, str], found: list[dict[str, Any]]) -> dict[str, Any]:
    collection, text, plan = key
    return {
        "collection": collection,
        "count": len(found),
        "total_ms": sum(item["durationMillis"] for item in found),
        "longest_ms": max(item["durationMillis"] for item in found),
        "documents_examined": sum(item.get("docsExamined", 0) for item in found),
        "last_seen": max(item["at"] for item in found),
        "plan": plan,
        "command": text,
    }
