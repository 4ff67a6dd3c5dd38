"""``users-service restore``."""

from __future__ import annotations

from pathlib import Path

import click

from chassis.backup import command
from chassis.backup.command import RestoreOptions
from chassis.backup.reading import Archive
from chassis.commands.cli import run
from chassis.settings import load
from users_service.backup import restore as restoring
from users_service.settings import DatabaseSettings


@click.command()
@command.restore_options
def restore(file: Path, verify: bool, dry_run: bool, start_over: bool) -> None:
    """Restore FILE into the database of the settings, which must be empty."""
    run(_restore(load(DatabaseSettings), file, RestoreOptions(verify, start_over), dry_run=dry_run))


async def _restore(settings: DatabaseSettings, file: Path, options: RestoreOptions, *, dry_run: bool) -> None:
    archive = Archive(file)
    if dry_run:
        await restoring.check(settings, archive, options)
    else:
        await restoring.restore(settings, archive, options)
    command.report(file, archive.manifest)
    click.echo("nothing was restored (--dry-run)" if dry_run else f"restored into {settings.mysql_database}")
