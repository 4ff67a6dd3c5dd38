"""``notifications-service explain``."""

from __future__ import annotations

import click

from chassis.clock import utc_now
from chassis.commands import cli
from chassis.commands.report import Section, table
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import run
from notifications_service.explain.examples import names
from notifications_service.explain.report import explain as plans_of
from notifications_service.settings import DatabaseSettings


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="Only list the names.")
@click.option("--analyze", is_flag=True, help="Let the server count what each reads; writes change nothing even so.")
@click.option("--json", "as_json", is_flag=True, help="Plans and commands as JSON, in the shape of `status --json`.")
def explain(name: str | None, listed: bool, analyze: bool, as_json: bool) -> None:
    """Show how the server carries out each command, or those called NAME, as logs and traces call them.

    The commands are the service's own, with values of a notification that is there; none is carried out. What reads a
    whole collection, or sorts, is marked.
    """
    if listed:
        click.echo("\n".join(names()))
        return
    settings = load(DatabaseSettings)
    with cli.logs_on_stderr():
        report = run(settings, lambda _: plans_of(settings, name, in_milliseconds(utc_now), analyze=analyze))
    if as_json:
        click.echo(report.as_json())
        return
    for section in report.sections:
        click.echo("\n".join(_lines(section, with_commands=name is not None)))


def _lines(section: Section, *, with_commands: bool) -> list[str]:
    rows = [{column: value for column, value in row.items() if column != "command"} for row in section.rows]
    commands = dict.fromkeys(row["command"] for row in section.rows if "command" in row)
    lines = [section.name.replace("_", " "), *(f"  {line}" for line in table(rows))]
    lines += [f"  ({note})" for note in section.notes]
    return [*lines, *(f"  {command}" for command in commands)] if with_commands else lines
