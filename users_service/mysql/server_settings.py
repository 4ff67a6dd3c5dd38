"""Settings of the server with which this service cannot work: they are told at the start, and by ``status``.

The server refuses statements for them again and again, until a person acts.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.mysql.driver_errors import BINLOG_FORMAT

# By names, since a server that lacks one of them has none of its troubles. New connections get these values.
_ASKED: Final = text("SHOW SESSION VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format')")


async def problems_of(connection: AsyncConnection) -> tuple[str, ...]:
    """Return what has to be changed at the server, each in one line."""
    found = {str(name).lower(): str(value).upper() for name, value in await connection.execute(_ASKED)}
    if found.get("log_bin") == "ON" and found.get("binlog_format") == "STATEMENT":
        return (f"binlog_format is STATEMENT: every write is refused (error {BINLOG_FORMAT}); set it to ROW or MIXED",)
    return ()
