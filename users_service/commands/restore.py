"""``users-service restore``."""

from __future__ import annotations

from chassis.backup.command import restore_command
from users_service.backup import restore as restoring
from users_service.backup.backup import SERVICE
from users_service.settings import DatabaseSettings

restore = restore_command(
    SERVICE,
    DatabaseSettings,
    check=restoring.check,
    restore=restoring.restore,
    name=lambda settings: settings.mysql_database,
)
