"""``users-service explain``."""

from __future__ import annotations

import click

from chassis.clock import utc_now
from chassis.commands import cli
from chassis.commands.report import Section, table
from chassis.settings import load
from users_service.explain.catalog import names
from users_service.explain.report import explain as plans_of
from users_service.settings import DatabaseSettings


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="Only list the names.")
@click.option("--json", "as_json", is_flag=True, help="Plans and statements as JSON, in the shape of `status --json`.")
def explain(name: str | None, listed: bool, as_json: bool) -> None:
    """Show how the server carries out each statement, or those called NAME, as logs and traces call them.

    The statements are the service's own, with values of rows that are there; none is carried out, and writes change
    nothing. What reads a whole table or index is marked.
    """
    if listed:
        click.echo("\n".join(names()))
        return
    with cli.logs_on_stderr():
        report = cli.run(plans_of(load(DatabaseSettings), name, utc_now))
    if as_json:
        click.echo(report.as_json())
        return
    for section in report.sections:
        click.echo("\n".join(_lines(section, with_statements=name is not None)))


def _lines(section: Section, *, with_statements: bool) -> list[str]:
    rows = [{column: value for column, value in row.items() if column != "statement"} for row in section.rows]
    statements = dict.fromkeys(row["statement"] for row in section.rows if "statement" in row)
    lines = [section.name.replace("_", " "), *(f"  {line}" for line in table(rows))]
    lines += [f"  ({note})" for note in section.notes]
    return [*lines, *(f"  {statement}" for statement in statements)] if with_statements else lines
