"""``notifications-service restore``."""

from __future__ import annotations

from chassis.backup.command import restore_command
from notifications_service.backup import restore as restoring
from notifications_service.backup.backup import SERVICE
from notifications_service.settings import DatabaseSettings

restore = restore_command(
    SERVICE,
    DatabaseSettings,
    check=restoring.check,
    restore=restoring.restore,
    name=lambda _: "the database of MONGODB_URL",
)
