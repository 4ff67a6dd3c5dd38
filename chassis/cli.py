"""Command-line options that both services have."""

from __future__ import annotations

import click

from chassis.workers import count_of


def _workers(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    try:
        return count_of(value)
    except ValueError:
        raise click.BadParameter("a number from 1, or auto") from None


workers_option = click.option(
    "--workers",
    default="1",
    show_default=True,
    metavar="N|auto",
    callback=_workers,
    help="Processes on the one port; auto: one per core.",
)
