"""``users-service outbox``: the calls that wait for the notifications service, for the person on call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import click

from chassis.clock import utc_now
from chassis.commands.cli import CommandFailed, run
from chassis.commands.tables import room, table
from chassis.settings import load
from users_service.mysql.database import Database
from users_service.outbox import repository
from users_service.outbox.model import KINDS, Waiting
from users_service.settings import DatabaseSettings

SHOWN: Final = 100
KIND: Final = click.option("--kind", type=click.Choice(KINDS), help="Only entries of this kind.")
TRIED: Final = click.option("--tried", type=click.IntRange(min=1), default=None, help="Only those tried so often.")
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group()
def outbox() -> None:
    """Look at, repeat and cancel the calls that wait for the notifications service.

    Needs the database only. Nothing shown holds a secret or an address.
    """


@outbox.command("list")
@KIND
@TRIED
@click.option("--limit", type=click.IntRange(1, 10_000), default=SHOWN, show_default=True, help="Entries at most.")
@JSON
def list_entries(kind: str | None, tried: int | None, limit: int, as_json: bool) -> None:
    """List entries, those due first."""
    found = run(_with_database(lambda connection: repository.waiting(connection, kind, tried or 0, limit + 1)))
    rows = [_row(entry) for entry in found[:limit]]
    if as_json:
        click.echo(json.dumps({"entries": rows, "more": len(found) > limit}, indent=2, default=str))
        return
    for line in table(rows, room()) if rows else ["nothing waits"]:
        click.echo(line)
    if len(found) > limit:
        click.echo(f"(there are more; --limit {limit} shows these)")


@outbox.command()
@click.argument("entry_id", metavar="ID")
@JSON
def show(entry_id: str, as_json: bool) -> None:
    """Show one entry."""
    entry = run(_with_database(lambda connection: repository.get(connection, entry_id)))
    if entry is None:
        raise CommandFailed(f"no entry {entry_id}: it is done, or never was")
    row = _row(entry)
    if as_json:
        click.echo(json.dumps(row, indent=2, default=str))
        return
    fields = [{"field": name.replace("_", " "), "value": str(value)} for name, value in row.items()]
    for line in table(fields, room()):
        click.echo(line)


@outbox.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@KIND
@TRIED
def retry(ids: Sequence[str], kind: str | None, tried: int | None) -> None:
    """Make entries due now; those of others whose call is being made at this moment are left."""
    _check(ids, kind, tried)
    now = utc_now()
    number = run(_with_database(lambda connection: repository.make_due(connection, ids, kind, tried or 0, now=now)))
    click.echo(f"{number} entries are due now")


@outbox.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@KIND
@TRIED
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(ids: Sequence[str], kind: str | None, tried: int | None, yes: bool) -> None:
    """Forget entries: their calls are not made.

    The notifications of a deleted user stay, where it is their deletion that is cancelled.
    """
    _check(ids, kind, tried)
    if not yes:
        click.confirm("The calls will never be made. Forget them?", abort=True)
    number = run(_with_database(lambda connection: repository.cancel(connection, ids, kind, tried or 0)))
    click.echo(f"{number} entries cancelled")


def _check(ids: Sequence[str], kind: str | None, tried: int | None) -> None:
    if bool(ids) == bool(kind or tried):
        raise click.UsageError("name either ids, or --kind or --tried")


async def _with_database(work: Any) -> Any:
    async with Database(load(DatabaseSettings)) as database:
        return await database.transaction(work)


def _row(entry: Waiting) -> dict[str, Any]:
    now = utc_now()
    return {
        "id": entry.id,
        "kind": entry.kind,
        "about": entry.about,
        "tried": entry.attempts,
        "waits_seconds": _since(now, entry.created_at),
        "due_in_seconds": _since(entry.available_at, now),
        "leased": entry.leased_until is not None and entry.leased_until > now,
    }


def _since(later: datetime, earlier: datetime) -> float:
    return max(0.0, (later - earlier) / timedelta(seconds=1))
