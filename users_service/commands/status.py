"""``users-service status``."""

from __future__ import annotations

from typing import Final

from chassis.commands.status import status_command
from users_service.settings import DatabaseSettings
from users_service.status.report import status as look

DESCRIPTION: Final = """
Show versions, migrations, connections, sizes, index usage, replication and slow statements.

What the account may not see, or the server does not record, says so, and how to turn it on. Exit code 1 where the
database is away or migrations are pending.
"""

status = status_command(DatabaseSettings, look, description=DESCRIPTION)
