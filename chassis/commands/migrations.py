"""Migrations beside live traffic: from what size on a table must not be locked, and the errors that say so."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from chassis.commands.cli import CommandFailed
from chassis.schema import listed

# Tells a person a line of what a migration does.
Say = Callable[[str], None]

# Rows from which on a table is big: to copy a million rows takes about a minute, and callers cannot wait that long.
BIG: Final = 1_000_000
# Rows of a big table that one statement may change: it holds their locks, and delays replicas, for a moment only.
BATCH: Final = 10_000
ADVICE: Final = "docs/operations.md#adding-an-index-to-a-big-table"


@dataclass(frozen=True, slots=True)
class LockLimits:
    """What migrations may do to tables of more than ``big`` rows."""

    allow_locking: bool = False
    big: int = BIG

    @property
    def batch(self) -> int:
        """Rows of such a table that one statement may change."""
        return min(BATCH, self.big)


class WouldLock(Exception):
    """A statement of a migration would lock a big table, or change too much of it at once; it was not carried out."""

    def __init__(self, table: str, rows: int, what: str) -> None:
        """``what``: the kind of statement, and why it is refused; never its text."""
        self.table, self.rows, self.what = table, rows, what
        super().__init__(f"{table}: {what}")


class MigrationRefused(CommandFailed):
    """A migration was stopped before a statement that would lock a big table; the text says what to do."""

    def __init__(self, migration: str, reason: WouldLock) -> None:
        super().__init__(
            f"{migration} is refused on {reason.table} (about {reason.rows:,} rows): {reason.what}. The statement was "
            f"not carried out. Write it in online steps ({ADVICE}), or, in a quiet hour, run it with --allow-locking"
        )


class WouldLose(Exception):
    """A downgrade would drop tables or collections that are not empty; nothing was changed."""

    def __init__(self, names: Sequence[str]) -> None:
        """``names``: of the tables or collections."""
        self.names = tuple(names)
        super().__init__(", ".join(names))


class DropRefused(CommandFailed):
    """A downgrade was refused because it would drop data, and ``--drop-data`` was not given."""

    def __init__(self, reason: WouldLose) -> None:
        super().__init__(
            f"this would drop what is in {listed(reason.names)}: refused, and nothing was dropped. Take a backup, and "
            "say --drop-data to lose it"
        )


def place_of(error: BaseException, folder: Path) -> str:
    """Return where in a folder's files an exception was raised, as `` at 0002_next.py, line 12``; empty if nowhere."""
    frames = [
        (Path(frame.filename), frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno))
    return f" at {frames[-1][0].name}, line {frames[-1][1]}" if frames else ""


def drop_data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--drop-data``."""
    return click.option("--drop-data", is_flag=True, help="Drop also what holds rows. They are lost.")(command)


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--allow-locking`` and ``--big-table ROWS``."""
    command = click.option(
        "--big-table",
        type=click.IntRange(min=1),
        default=BIG,
        show_default=True,
        metavar="ROWS",
        help="Tables of more rows must not be locked.",
    )(command)
    return click.option("--allow-locking", is_flag=True, help="Carry out what locks a big table, too.")(command)
