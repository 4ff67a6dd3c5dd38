"""Views, triggers and routines, which a backup leaves out: the service has none, but somebody may have added some."""

from __future__ import annotations

from typing import Final

from users_service.backup.connection import Connection

# Only those that the account may see are counted: a view takes SELECT, a trigger TRIGGER, a routine EXECUTE or more.
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
