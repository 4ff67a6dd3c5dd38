"""The ``status`` command, and the parts of its report: each by itself, so that one that fails hides no other."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from chassis.commands import cli
from chassis.commands.report import NotAvailable, Report, Section
from chassis.settings import ServerSettings, load

C = TypeVar("C")
S = TypeVar("S", bound=ServerSettings)


@dataclass(frozen=True, slots=True)
class SectionReader(Generic[C]):
    """A section, how it is read over a connection, and the right or role that this takes."""

    name: str
    read: Callable[[C], Awaitable[Section]]
    right: str


def status_command(
    settings_class: type[S], look: Callable[[S], Coroutine[Any, Any, Report]], *, description: str
) -> click.Command:
    """Return the command that prints the report of ``look``, and ends with 1 where the report has problems."""

    @click.command("status", help=description)
    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="The same as JSON, in the shape that chassis/commands/report.py documents.",
    )
    def status(as_json: bool) -> None:
        with cli.logs_on_stderr():
            report = cli.run(look(load(settings_class)))
        click.echo(report.as_json() if as_json else report.as_text())
        sys.exit(0 if report.ok else 1)

    return status


async def add_parts(
    report: Report, parts: Sequence[SectionReader[C]], read: Callable[[SectionReader[C]], Awaitable[Section]]
) -> None:
    """Append the section of each part; ``read`` raises NotAvailable for one that cannot be had.

    Nothing is read where the first section of the report says why it is not there: the database did not answer a
    moment ago, and nobody waits for it seven times.
    """
    away = report.sections[0].reason
    for part in parts:
        report.sections.append(Section(part.name, reason=away) if away else await _section(part, read))


async def _section(part: SectionReader[C], read: Callable[[SectionReader[C]], Awaitable[Section]]) -> Section:
    try:
        return await read(part)
    except NotAvailable as why:
        return Section(part.name, reason=str(why))


def pending_problem(number: int, service: str) -> str:
    """Return the problem of migrations that are missing."""
    return f"{number} migrations are pending: run `{service} migrate up`"
