"""``users-service restore``."""

from __future__ import annotations

from chassis.backup.command import restore_command
from users_service.backup import restore as restoring
from users_service.settings import DatabaseSettings

restore = restore_command(
    DatabaseSettings,
    check=restoring.check,
    restore=restoring.restore,
    done=lambda settings: f"restored into {settings.mysql_database}",
)
