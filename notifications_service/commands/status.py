"""``notifications-service status``."""

from __future__ import annotations

from functools import partial
from typing import Final

from chassis.clock import utc_now
from chassis.commands.status import status_command
from notifications_service.settings import DatabaseSettings
from notifications_service.status.report import status as look

DESCRIPTION: Final = """
Show versions, migrations, connections, sizes, index usage, replication and slow commands.

What the account may not see says so, and which role may. Exit code 1 where the database is away or migrations are
pending.
"""

status = status_command(DatabaseSettings, partial(look, clock=utc_now), description=DESCRIPTION)
