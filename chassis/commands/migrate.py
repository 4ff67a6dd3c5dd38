"""The ``migrate`` commands: ``up``, ``down``, ``status`` and ``new``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import click

from chassis.commands import cli
from chassis.commands.migrations import LockLimits, drop_data_option, limits_options
from chassis.settings import ServerSettings, load

# A decorator that declares an argument or an option to click.
Declared = Callable[[Any], Any]
S = TypeVar("S", bound=ServerSettings)
S_contra = TypeVar("S_contra", bound=ServerSettings, contravariant=True)


class Listed(NamedTuple):
    """A migration as ``status`` lists it."""

    number: str
    state: str
    name: str


class Migrations(Protocol[S_contra]):
    """The migrations of one service; the docstrings of its methods are what ``--help`` says of the commands.

    ``target``: as the command line names it. Every method raises CommandFailed.
    """

    async def up(self, settings: S_contra, target: Any, limits: LockLimits) -> None:
        """Carry out what is missing up to ``target``, and say so."""

    async def down(self, settings: S_contra, target: Any, limits: LockLimits, *, drop_data: bool) -> None:
        """Take back what comes after ``target``, and say so."""

    async def status(self, settings: S_contra) -> Sequence[Listed]:
        """Return all migrations."""

    def new(self, name: str) -> Path:
        """Write an empty migration and return its file."""


def migrate_group(
    settings_class: type[S], migrations: Migrations[S], *, up_to: Declared, down_to: Declared, description: str
) -> click.Group:
    """Return the group of the commands; ``up_to``, ``down_to``: declare the argument ``target`` of theirs."""
    group = click.Group("migrate", help=description)
    group.add_command(_up(settings_class, migrations, up_to))
    group.add_command(_down(settings_class, migrations, down_to))
    group.add_command(_status(settings_class, migrations))
    group.add_command(_new(migrations))
    return group


def _up(settings_class: type[S], migrations: Migrations[S], target: Declared) -> click.Command:
    @click.command("up", help=migrations.up.__doc__)
    @target
    @limits_options
    def up(target: Any, allow_locking: bool, big_table: int) -> None:
        cli.run(migrations.up(load(settings_class), target, LockLimits(allow_locking, big_table)))

    return up


def _down(settings_class: type[S], migrations: Migrations[S], target: Declared) -> click.Command:
    # A number that leads back, such as -1, is no option.
    @click.command("down", help=migrations.down.__doc__, context_settings={"ignore_unknown_options": True})
    @target
    @limits_options
    @drop_data_option
    def down(target: Any, allow_locking: bool, big_table: int, drop_data: bool) -> None:
        limits = LockLimits(allow_locking, big_table)
        cli.run(migrations.down(load(settings_class), target, limits, drop_data=drop_data))

    return down


def _status(settings_class: type[S], migrations: Migrations[S]) -> click.Command:
    @click.command("status", help=migrations.status.__doc__)
    def status() -> None:
        for migration in cli.run(migrations.status(load(settings_class))):
            click.echo("  ".join(migration))

    return status


def _new(migrations: Migrations[Any]) -> click.Command:
    @click.command("new", help=migrations.new.__doc__)
    @click.argument("name")
    def new(name: str) -> None:
        try:
            click.echo(migrations.new(name))
        except (cli.CommandFailed, ValueError, OSError) as error:
            cli.fail(str(error))

    return new
