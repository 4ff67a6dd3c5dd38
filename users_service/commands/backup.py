"""``users-service backup``."""

from __future__ import annotations

from pathlib import Path

import click

from chassis.backup import command
from chassis.clock import utc_now
from chassis.commands.cli import run
from chassis.settings import load
from users_service.backup.backup import backup as write_backup
from users_service.settings import DatabaseSettings


@click.command()
@command.backup_options
def backup(file: Path, overwrite: bool, verify: bool) -> None:
    """Write everything that the database holds at this moment to FILE, while it is in use."""
    run(_backup(load(DatabaseSettings), file, overwrite=overwrite, verify=verify))


async def _backup(settings: DatabaseSettings, file: Path, *, overwrite: bool, verify: bool) -> None:
    await write_backup(settings, file, utc_now, overwrite=overwrite, verify=verify)
    command.report(file, command.checked(file, verify=verify))
