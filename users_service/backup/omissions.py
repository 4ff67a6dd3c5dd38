"""What somebody added to the database and a backup leaves out: the service itself has none of these."""

from __future__ import annotations

from typing import Final

from users_service.backup.connection import Connection

# What the account may not see is not counted: a view needs SELECT, a trigger TRIGGER, a routine EXECUTE or more.
_COUNTS: Final = (
    "SELECT (SELECT COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()),"
    " (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()),"
    " (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = DATABASE())"
)
_KINDS: Final = ("views", "triggers", "routines")


async def omissions(connection: Connection) -> str:
    """Say how many views, triggers and routines there are, or nothing where there are none. Raises ``MySQLFailed``."""
    (counts,) = await connection.rows(_COUNTS)
    return ", ".join(f"{kind} ({count})" for kind, count in zip(_KINDS, counts, strict=True) if count)
