"""The slow statements of the last hour, grouped by shape, from the server's own records."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.report import NotAvailable, Section
from users_service.status.server import is_mariadb
from users_service.status.shapes import shape

SHOWN: Final = 10
_LOG: Final = (
    "SELECT CAST(sql_text AS BINARY), query_time, rows_examined, start_time FROM mysql.slow_log "
    # The log has no index, and may be long, so only this many entries are read.
    "WHERE db = DATABASE() AND start_time > NOW(6) - INTERVAL 1 HOUR LIMIT 5000"
)
# Times are in picoseconds.
_DIGESTS: Final = (
    "SELECT digest_text, count_star, sum_timer_wait / 1e12, max_timer_wait / 1e12, sum_rows_examined, last_seen "
    "FROM performance_schema.events_statements_summary_by_digest WHERE schema_name = DATABASE() "
    "AND last_seen > NOW(6) - INTERVAL 1 HOUR AND max_timer_wait >= :slow * 1e9 "
    "ORDER BY sum_timer_wait DESC LIMIT :shown"
)


async def slow_queries(connection: AsyncConnection, slow_ms: int) -> Section:
    """Return the shapes that took the most time together; raise NotAvailable where the server keeps no record.

    From the slow-query log, where that is a table (what is slow is the server's ``long_query_time`` then); else from
    performance_schema, statements that took over ``slow_ms`` at some time.
    """
    on, output, over = (
        await connection.execute(text("SELECT @@slow_query_log, @@log_output, @@GLOBAL.long_query_time"))
    ).one()
    if on and "TABLE" in output:
        rows = _grouped((await connection.execute(text(_LOG))).all())
        return Section("slow_queries", rows, [f"statements over {over:g} s, from mysql.slow_log"])
    if await connection.scalar(text("SELECT @@performance_schema")):
        digests = (await connection.execute(text(_DIGESTS), {"slow": slow_ms, "shown": SHOWN})).all()
        return Section("slow_queries", [_digest(row) for row in digests], [_about_digests(slow_ms)])
    by = "performance_schema = ON, or " if await is_mariadb(connection) else ""
    raise NotAvailable(
        f"the server keeps no record; turn on {by}"
        "SET GLOBAL log_output = 'TABLE', long_query_time = 0.2, slow_query_log = 1"
    )


def _about_digests(slow_ms: int) -> str:
    return (
        f"statements that ran within the hour and took over {slow_ms} ms at some time; counted since the server "
        "started, from performance_schema"
    )


def _digest(row: Iterable[Any]) -> dict[str, Any]:
    digest, count, total, longest, examined, last = row
    # The server's digests contain no values; the shape also shortens them.
    return _row(shape(digest or "?"), int(count), (float(total), float(longest)), int(examined), last)


def _grouped(entries: Iterable[Any]) -> list[dict[str, Any]]:
    groups: dict[str, list[tuple[float, int, datetime]]] = {}
    for statement, took, examined, started in entries:
        text_ = statement.decode("utf-8", "replace") if isinstance(statement, bytes) else statement
        seconds = took.total_seconds() if isinstance(took, timedelta) else float(took)
        groups.setdefault(shape(text_), []).append((seconds, examined, started))
    rows = [
        _row(
            text_,
            len(found),
            (sum(item[0] for item in found), max(item[0] for item in found)),
            sum(item[1] for item in found),
            max(item[2] for item in found),
        )
        for text_, found in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["total_seconds"])[:SHOWN]


def _row(shape_: str, count: int, seconds: tuple[float, float], examined: int, last: datetime) -> dict[str, Any]:
    total, longest = seconds
    return {
        "count": count,
        "total_seconds": round(total, 6),
        "longest_seconds": round(longest, 6),
        "rows_examined": examined,
        "last_seen": last,
        "statement": shape_,
    }
