"""``users-service revoke-sessions``."""

from __future__ import annotations

from functools import partial

import click

from chassis.clock import utc_now
from chassis.commands.cli import run
from chassis.commands.progress import progress
from chassis.settings import load
from users_service.mysql.database import Database
from users_service.sessions import repository
from users_service.sessions.mass_revocation import revoke_everyone
from users_service.sessions.model import REVOKED
from users_service.settings import DatabaseSettings


@click.command("revoke-sessions")
@click.option("--user", metavar="ID", help="Those of one user.")
@click.option("--everyone", is_flag=True, help="Those of all users: everybody has to sign in again.")
def revoke_sessions(user: str | None, everyone: bool) -> None:
    """End live sessions, of one user or of all; their tokens are worth nothing from then on.

    For incidents: needs the database only, and works while the services run, or do not.
    """
    if (user is None) != everyone:
        raise click.UsageError("name either --user ID or --everyone")
    ended = run(_revoke(load(DatabaseSettings), user))
    click.echo(f"{ended} sessions ended")


async def _revoke(settings: DatabaseSettings, user: str | None) -> int:
    async with Database(settings) as database:
        now = utc_now()
        if user is not None:
            return await database.transaction(partial(repository.revoke_all, user_id=user, now=now, reason=REVOKED))
        async with database.connection() as connection:
            number = await repository.estimate(connection)
        with progress("sessions", number) as advance:
            return await revoke_everyone(database, now, advance)
