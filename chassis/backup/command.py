"""The ``backup`` and ``restore`` commands: their options, and what they say when they are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from chassis.backup.manifest import Manifest
from chassis.backup.reading import Archive

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore."""

    verify: bool
    """Compare checksums before, and counts and the schema afterwards."""
    start_over: bool
    """Empty a database in which a restore did not finish."""


def backup_options(command: Command) -> Command:
    """Add FILE, ``--overwrite`` and ``--no-verify``."""
    return _apply(
        command,
        click.argument("file", type=click.Path(path_type=Path, dir_okay=False)),
        click.option("--overwrite", is_flag=True, help="Replace FILE if it exists."),
        click.option("--verify/--no-verify", default=True, help="Read the file again and compare its checksums."),
    )


def restore_options(command: Command) -> Command:
    """Add FILE, ``--no-verify``, ``--dry-run`` and ``--start-over``."""
    return _apply(
        command,
        click.argument("file", type=click.Path(path_type=Path, dir_okay=False)),
        click.option(
            "--verify/--no-verify",
            default=True,
            help="Compare checksums before, and counts and the schema's revision afterwards.",
        ),
        click.option("--dry-run", is_flag=True, help="Check the file and the database, and restore nothing."),
        click.option("--start-over", is_flag=True, help="Empty a database in which a restore did not finish."),
    )


def _apply(command: Command, *decorators: Callable[[Any], Any]) -> Command:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


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
