"""``notifications-service backup``."""

from __future__ import annotations

from chassis.backup.command import backup_command
from chassis.clock import utc_now
from notifications_service.backup.backup import SERVICE
from notifications_service.backup.backup import backup as write
from notifications_service.settings import DatabaseSettings

backup = backup_command(
    SERVICE, DatabaseSettings, lambda settings, file, options: write(settings, file, utc_now, options)
)
