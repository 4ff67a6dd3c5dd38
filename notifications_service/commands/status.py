"""``notifications-service status``."""

from __future__ import annotations

import sys

import click

from chassis.clock import utc_now
from chassis.commands import cli
from chassis.settings import load
from notifications_service.settings import DatabaseSettings
from notifications_service.status.report import status as look


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="The same as JSON, in the shape that chassis/commands/report.py documents."
)
def status(as_json: bool) -> None:
    """Show versions, migrations, connections, sizes, index usage, replication and slow commands.

    What the account may not see says so, and which role may. Exit code 1 where the database is away or migrations are
    pending.
    """
    with cli.logs_on_stderr():
        report = cli.run(look(load(DatabaseSettings), utc_now))
    click.echo(report.as_json() if as_json else report.as_text())
    sys.exit(0 if report.ok else 1)
