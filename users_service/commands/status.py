"""``users-service status``."""

from __future__ import annotations

import sys

import click

from chassis.commands import cli
from chassis.settings import load
from users_service.settings import DatabaseSettings
from users_service.status.report import status as look


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="The same as JSON, in the shape that chassis/commands/report.py documents."
)
def status(as_json: bool) -> None:
    """Show versions, migrations, connections, sizes, index usage, replication and slow statements.

    What the account may not see, or the server does not record, says so, and how to turn it on. Exit code 1 where the
    database is away or migrations are pending.
    """
    with cli.logs_on_stderr():
        report = cli.run(look(load(DatabaseSettings)))
    click.echo(report.as_json() if as_json else report.as_text())
    sys.exit(0 if report.ok else 1)
