"""Server sections: versions of the service, its driver and the server, and the server's connections."""

from __future__ import annotations

import platform
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.report import ReportRow, Section, version_of

_CONNECTIONS_OF_MARIADB: Final = "information_schema.processlist"
_CONNECTIONS_OF_MYSQL: Final = "performance_schema.processlist"


async def is_mariadb(connection: AsyncConnection) -> bool:
    """Whether the server is MariaDB."""
    return "mariadb" in str(await connection.scalar(text("SELECT VERSION()"))).lower()


async def versions(connection: AsyncConnection) -> Section:
    """Return the versions of the service, its driver and the server."""
    kind = "MariaDB" if await is_mariadb(connection) else "MySQL"
    server = str(await connection.scalar(text("SELECT VERSION()")))
    uptime = await _variables(connection, "STATUS", "Uptime")
    rows: list[ReportRow] = [
        {"part": "users-service", "version": version_of("vibework-services")},
        {"part": "Python", "version": platform.python_version()},
        {"part": "asyncmy", "version": version_of("asyncmy")},
        {"part": "SQLAlchemy", "version": version_of("sqlalchemy")},
        {"part": kind, "version": server, "up_seconds": int(uptime["Uptime"])},
    ]
    return Section("versions", rows)


async def connections(connection: AsyncConnection) -> Section:
    """Return the server's connections, in total and by user; the service's own pools are in its metrics."""
    status = await _variables(connection, "STATUS", "Threads_connected", "Threads_running", "Max_used_connections")
    limit = await connection.scalar(text("SELECT @@max_connections"))
    all_ = {
        "user": "(all)",
        "connections": int(status["Threads_connected"]),
        "working": int(status["Threads_running"]),
        "most": int(status["Max_used_connections"]),
        "limit": limit,
    }
    place = _CONNECTIONS_OF_MARIADB if await is_mariadb(connection) else _CONNECTIONS_OF_MYSQL
    statement = text(
        "SELECT user, db, COUNT(*), SUM(command NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')) "  # noqa: S608
        f"FROM {place} GROUP BY user, db ORDER BY COUNT(*) DESC"
    )
    users = [
        {"user": user, "database": database, "connections": number, "working": int(working)}
        for user, database, number, working in await connection.execute(statement)
    ]
    return Section("connections", [all_, *users], missing=await _what_is_hidden(connection))


async def _what_is_hidden(connection: AsyncConnection) -> list[str]:
    granted = text("SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'PROCESS'")
    if await connection.scalar(granted):
        return []
    return ["by user: only this account's own connections are shown; GRANT PROCESS ON *.* shows all"]


async def _variables(connection: AsyncConnection, kind: str, *names: str) -> dict[str, str]:
    wanted = ", ".join(f"'{name}'" for name in names)
    found = await connection.execute(text(f"SHOW GLOBAL {kind} WHERE variable_name IN ({wanted})"))
    return {name: value for name, value in found}  # noqa: C416 - rows, not pairs
