"""The ``backup`` and ``restore`` commands: their options, and what they say when they are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from chassis.backup import folder, streaming
from chassis.backup.errors import BackupFailed
from chassis.backup.incoming import Backup
from chassis.backup.manifest import Manifest
from chassis.backup.reading import Archive
from chassis.backup.writing import STDOUT
from chassis.clock import utc_now
from chassis.commands import cli
from chassis.settings import ServerSettings, load

S = TypeVar("S", bound=ServerSettings)

_FILE: Final = click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
_STDIN: Final = STDOUT


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How to write a backup."""

    overwrite: bool = False
    """Replace the file if it exists."""
    verify: bool = True
    """Compare what is in the file with what the database has, and the file's checksums with the file."""
    keep: int | None = None
    """How many backups stay in the folder; None: all of them."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore."""

    verify: bool = True
    """Compare checksums before, and counts and the schema afterwards."""
    start_over: bool = False
    """Empty a database in which a restore did not finish."""
    drill: bool = False
    """Empty the database again once all is restored and compared."""
    database: str | None = None
    """Restore into this database of the server; None: into that of the settings."""


Write = Callable[[S, Path, BackupOptions], Awaitable[Manifest]]
Restore = Callable[[S, Backup, RestoreOptions], Awaitable[None]]


def backup_command(service: str, settings_class: type[S], write: Write[S]) -> click.Command:
    """Return the command that writes a backup with ``write`` and says what it holds."""

    @click.command("backup")
    @_FILE
    @click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
    @click.option(
        "--verify/--no-verify",
        default=True,
        help="Compare the values with the database's, and read the file again and compare its checksums.",
    )
    @click.option(
        "--keep", type=click.IntRange(min=1), metavar="N", help="FILE is a folder: keep the newest N backups in it."
    )
    def backup(file: Path, overwrite: bool, verify: bool, keep: int | None) -> None:
        """Write everything that the database holds at this moment to FILE, while it is in use.

        `-` writes to the standard output. In a folder, the file gets the name of the service and the time.
        """
        with cli.logs_on_stderr():
            cli.run(_backup(service, write, load(settings_class), file, BackupOptions(overwrite, verify, keep)))

    return backup


async def _backup(service: str, write: Write[S], settings: S, file: Path, options: BackupOptions) -> None:
    path = _place(service, file, options)
    written = await write(settings, path, options)
    if path == STDOUT:
        # Nobody knows what becomes of the output, so there is no file to read again.
        _report("the output", written, err=True)
        return
    archive = Archive(path)
    if options.verify:
        archive.verify()
    _report(archive.label, archive.manifest)
    for old in folder.keep_newest(file, service, options.keep) if options.keep else ():
        click.echo(f"removed {old}")


def _place(service: str, file: Path, options: BackupOptions) -> Path:
    """Return the file to write: what was named, or a new one in the folder that was named."""
    if file != STDOUT and file.is_dir():
        folder.remove_abandoned(file, service)
        return folder.new_file(file, service, utc_now())
    if options.keep:
        raise BackupFailed(f"{file} is no folder: --keep is for a folder of backups")
    return file


def restore_command(
    service: str,
    settings_class: type[S],
    *,
    check: Restore[S],
    restore: Restore[S],
    name: Callable[[S], str],
) -> click.Command:
    """Return the command that restores with ``restore``, or only looks with ``check`` whether it could be.

    ``name``: of the database of the settings.
    """

    @click.command("restore")
    @_FILE
    @click.option(
        "--verify/--no-verify",
        default=True,
        help="Compare checksums before, and counts, values and the schema's revision afterwards.",
    )
    @click.option("--dry-run", is_flag=True, help="Check the file and the database, and restore nothing.")
    @click.option("--start-over", is_flag=True, help="Empty a database in which a restore did not finish.")
    @click.option("--drill", is_flag=True, help="Restore and compare, then empty the database again.")
    @click.option("--database", metavar="NAME", help="Restore into this database instead of the settings'.")
    def command(file: Path, dry_run: bool, **options: Any) -> None:
        """Restore FILE into the database of the settings, which must be empty.

        `-` reads from the standard input. Of a folder, the newest backup is taken.
        """
        settings, chosen = load(settings_class), RestoreOptions(**options)
        if chosen.drill and not chosen.verify:
            raise click.UsageError("a drill compares what it restores: --drill and --no-verify exclude each other")
        with cli.logs_on_stderr():
            cli.run(_restore(service, check if dry_run else restore, settings, file, chosen))
        click.echo(_done(chosen.database or name(settings), chosen, dry_run=dry_run))

    return command


def _done(database: str, options: RestoreOptions, *, dry_run: bool) -> str:
    if dry_run:
        return "nothing was restored (--dry-run)"
    if options.drill:
        return f"restored into {database}, compared, and emptied again (--drill)"
    return f"restored into {database}"


async def _restore(service: str, work: Restore[S], settings: S, path: Path, options: RestoreOptions) -> None:
    backup = _found(service, path)
    await work(settings, backup, options)
    _report(backup.label, backup.manifest)


def _found(service: str, path: Path) -> Backup:
    if path == _STDIN:
        return streaming.standard_input()
    return Archive(folder.newest(path, service) if path.is_dir() else path)


def _report(label: str, manifest: Manifest, *, err: bool = False) -> None:
    """Say what a backup holds."""
    width = max(map(len, manifest.counts), default=0)
    for name, count in manifest.counts.items():
        click.echo(f"{name.ljust(width)}  {count:>12,}", err=err)
    stored, content = (sum(getattr(part, size) for part in manifest.parts) for size in ("bytes", "content_bytes"))
    click.echo(
        f"{label}: {stored:,} bytes for {content:,}, schema {manifest.schema_revision}, {manifest.server}", err=err
    )
    click.echo(f"taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S.%f} UTC, {_position(manifest)}", err=err)


def _position(manifest: Manifest) -> str:
    if manifest.position is None:
        return "the log's position is not known"
    return ", ".join(f"{name} {value}" for name, value in manifest.position.items())
