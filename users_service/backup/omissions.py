"""Omissions of a backup: what somebody added and it leaves out, or does not read at the moment of the rest."""

from __future__ import annotations

from typing import Final

from users_service.backup.connection import Connection

# Only those that the account may see are counted: a view takes SELECT, a trigger TRIGGER, a routine EXECUTE or more, an
# event EVENT.
_COUNTS: Final = (
    "SELECT (SELECT COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()),"
    " (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()),"
    " (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = DATABASE()),"
    " (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = DATABASE())"
)
_KINDS: Final = ("views", "triggers", "routines", "events")
_OTHER_ENGINES: Final = (
    "SELECT table_name, engine FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY table_name"
)


async def omissions(connection: Connection) -> list[str]:
    """Say in a line each what is left out, and what is not of the snapshot's moment. Raises ``MySQLFailed``."""
    (counts,) = await connection.rows(_COUNTS)
    left_out = ", ".join(f"{kind} ({count})" for kind, count in zip(_KINDS, counts, strict=True) if count)
    others = ", ".join([f"{table} ({engine})" for table, engine in await connection.rows(_OTHER_ENGINES)])
    return [
        *([f"not in the backup: {left_out}"] if left_out else []),
        *([f"not of the backup's moment, since their engine knows none: {others}"] if others else []),
    ]
