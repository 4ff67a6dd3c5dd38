"""The ``backup`` and ``restore`` commands: their options, and what they say when they are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import click

from chassis.backup.manifest import Manifest
from chassis.backup.reading import Archive
from chassis.commands import cli
from chassis.settings import ServerSettings, load

S = TypeVar("S", bound=ServerSettings)

_FILE: Final = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How to write a backup."""

    overwrite: bool = False
    """Replace the file if it exists."""
    verify: bool = True
    """Read the file again and compare its checksums."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore."""

    verify: bool
    """Compare checksums before, and counts and the schema afterwards."""
    start_over: bool
    """Empty a database in which a restore did not finish."""


Write = Callable[[S, Path, BackupOptions], Awaitable[None]]
Restore = Callable[[S, Archive, RestoreOptions], Awaitable[None]]


def backup_command(settings_class: type[S], write: Write[S]) -> click.Command:
    """Return the command that writes a backup with ``write`` and says what it holds."""

    @click.command("backup")
    @_FILE
    @click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
    @click.option("--verify/--no-verify", default=True, help="Read the file again and compare its checksums.")
    def backup(file: Path, overwrite: bool, verify: bool) -> None:
        """Write everything that the database holds at this moment to FILE, while it is in use."""
        cli.run(_backup(write, load(settings_class), file, BackupOptions(overwrite, verify)))

    return backup


async def _backup(write: Write[S], settings: S, file: Path, options: BackupOptions) -> None:
    await write(settings, file, options)
    report(file, checked(file, verify=options.verify))


def restore_command(
    settings_class: type[S], *, check: Restore[S], restore: Restore[S], done: Callable[[S], str]
) -> click.Command:
    """Return the command that restores with ``restore``, or only looks with ``check`` whether it could be.

    ``done``: what it says in the end.
    """

    @click.command("restore")
    @_FILE
    @click.option(
        "--verify/--no-verify",
        default=True,
        help="Compare checksums before, and counts and the schema's revision afterwards.",
    )
    @click.option("--dry-run", is_flag=True, help="Check the file and the database, and restore nothing.")
    @click.option("--start-over", is_flag=True, help="Empty a database in which a restore did not finish.")
    def command(file: Path, verify: bool, dry_run: bool, start_over: bool) -> None:
        """Restore FILE into the database of the settings, which must be empty."""
        settings = load(settings_class)
        cli.run(_restore(check if dry_run else restore, settings, file, RestoreOptions(verify, start_over)))
        click.echo("nothing was restored (--dry-run)" if dry_run else done(settings))

    return command


async def _restore(work: Restore[S], settings: S, file: Path, options: RestoreOptions) -> None:
    archive = Archive(file)
    await work(settings, archive, options)
    report(file, archive.manifest)


def checked(path: Path, *, verify: bool) -> Manifest:
    """Read a file that was just written as a restore would. Raises ``Damaged``."""
    archive = Archive(path)
    if verify:
        archive.verify()
    return archive.manifest


def report(path: Path, manifest: Manifest) -> None:
    """Say on stdout what a backup holds."""
    width = max(map(len, manifest.counts), default=0)
    for name, count in manifest.counts.items():
        click.echo(f"{name.ljust(width)}  {count:>12,}")
    stored, content = (sum(getattr(part, size) for part in manifest.parts) for size in ("bytes", "content_bytes"))
    click.echo(f"{path}: {stored:,} bytes for {content:,}, schema {manifest.schema_revision}, {manifest.server}")
    click.echo(f"taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S.%f} UTC, {_position(manifest)}")


def _position(manifest: Manifest) -> str:
    if manifest.position is None:
        return "the log's position is not known"
    return ", ".join(f"{name} {value}" for name, value in manifest.position.items())
