"""``users-service revoke-sessions``."""

from __future__ import annotations

import sys

import click

from chassis.clock import utc_now
from chassis.commands.cli import CommandFailed, run
from chassis.commands.progress import progress
from chassis.pooling import batches
from chassis.settings import load
from users_service.mysql.database import Database
from users_service.sessions import repository
from users_service.sessions.mass_revocation import Ended, revoke_everyone
from users_service.sessions.revocation import revoking
from users_service.settings import DatabaseSettings


@click.command("revoke-sessions")
@click.option("--user", metavar="ID", help="Those of one user.")
@click.option("--everyone", is_flag=True, help="Those of all users: everybody has to sign in again.")
def revoke_sessions(user: str | None, everyone: bool) -> None:
    """End live sessions, of one user or of all; their tokens are worth nothing from then on.

    For incidents: needs the database only, and works while the services run, or do not. A session that another
    transaction holds for seconds holds up no other of --everyone: it is counted and named, and the exit code is 1.
    """
    if (user is None) != everyone:
        raise click.UsageError("name either --user ID or --everyone")
    ended = run(_revoke(load(DatabaseSettings), user))
    click.echo(f"{ended.count} sessions ended")
    if left := ended.locked.told("sessions", "other transactions hold them; run this again"):
        click.echo(left, err=True)
        sys.exit(1)


async def _revoke(settings: DatabaseSettings, user: str | None) -> Ended:
    async with Database(settings) as database:
        now = utc_now()
        if user is not None:
            done = await batches.write(revoking(database, user, now))
            if done.incomplete:
                raise CommandFailed(f"{done.changed} sessions ended, and others are left: run this again")
            return Ended(done.changed)
        async with database.connection() as connection:
            number = await repository.estimate(connection)
        with progress("sessions", number) as advance:
            return await revoke_everyone(database, now, advance)
