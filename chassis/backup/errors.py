"""Errors of backups and restores; the text of each is one line for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chassis.commands.cli import CommandFailed


class BackupFailed(CommandFailed):
    """No backup was written; the text says why."""


class RestoreFailed(CommandFailed):
    """The backup was not restored; the text says why, and how to go on."""


class Damaged(CommandFailed):
    """The file is no backup, or was damaged or changed since it was written."""

    def __init__(self, label: str, what: str) -> None:
        super().__init__(f"{label} is not a whole backup: {what}")


@contextmanager
def saying_how_to_go_on(database: str) -> Iterator[None]:
    """Turn an error that ends a restore into RestoreFailed, whose text says that the database is unfinished."""
    try:
        yield
    except CommandFailed as error:
        raise RestoreFailed(f"{error}; {database} is unfinished: restore again with --start-over") from error
