"""The ``status`` command, and the parts of its report: each by itself, so that one that fails hides no other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

import click

from chassis.clock import utc_now
from chassis.commands import cli
from chassis.commands.report import NotAvailable, Report, Section
from chassis.commands.tables import room
from chassis.settings import ServerSettings, load

C = TypeVar("C")
S = TypeVar("S", bound=ServerSettings)

WATCH_SECONDS: Final = 5


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
    @click.option(
        "--watch",
        "every",
        is_flag=False,
        flag_value=str(WATCH_SECONDS),
        type=click.IntRange(1, 3_600),
        metavar="[SECONDS]",
        help=f"Look again every so many seconds, {WATCH_SECONDS} unless told otherwise, until Ctrl-C.",
    )
    def status(as_json: bool, every: int | None) -> None:
        if every and as_json:
            raise click.UsageError("--watch is for people; a program runs --json as often as it likes")
        with cli.logs_on_stderr():
            settings = load(settings_class)
            report = _watch(partial(look, settings), every) if every else cli.run(look(settings))
        if not every:
            click.echo(report.as_json() if as_json else report.as_text(room()))
        sys.exit(0 if report.ok else 1)

    return status


def _watch(look: Callable[[], Coroutine[Any, Any, Report]], every: int) -> Report:
    """Show a report again and again until Ctrl-C, each in place of the one before; return the last."""
    last: list[Report] = []

    async def go_on() -> None:
        while True:
            last[:] = [await look()]
            _show(last[0], every)
            await asyncio.sleep(every)

    try:
        cli.run(go_on())
    except KeyboardInterrupt:
        if not last:
            raise
    return last[0]


def _show(report: Report, every: int) -> None:
    # Clears a terminal, and writes nothing elsewhere.
    click.clear()
    click.echo(f"{report.service}, {utc_now():%Y-%m-%d %H:%M:%S} UTC, every {every} s; Ctrl-C ends\n")
    click.echo(f"{report.as_text(room())}\n")


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
