"""``notifications-service deliveries``: what goes out, and what did not, for the person on call."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, TypedDict, Unpack

import click

from chassis.clock import utc_now
from chassis.commands.ages import AGE
from chassis.commands.cli import CommandFailed, run, with_options
from chassis.commands.tables import room, table
from chassis.errors import NotFound
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands import deliveries_shown as shown
from notifications_service.commands.connection import opened
from notifications_service.delivery.service import DeliveryService, SteeredBatch
from notifications_service.delivery.steering import CANCEL, RETRY, SteeringStep, Untouched
from notifications_service.mongodb.codec import Document
from notifications_service.notification import schema
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.documents import Type
from notifications_service.notification.retention import Retention
from notifications_service.outbox.filters import DeliveryFilter
from notifications_service.outbox.model import Reason
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.settings import DatabaseSettings

SHOWN: Final = 100
# Rows of one query.
PAGE: Final = 500

_NOW: Final = in_milliseconds(utc_now)
_STATES: Final = [state.value for state in DeliveryState]
_REASONS: Final = [reason.value for reason in Reason]
_CHANNELS: Final = [Type.EMAIL.value, Type.PUSH.value]
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_IDS: Final = click.argument("ids", metavar="[ID]...", nargs=-1)


class Chosen(TypedDict):
    """The options that choose deliveries; empty: any."""

    state: tuple[str, ...]
    channel: str | None
    user: str
    reason: tuple[str, ...]
    older_than: timedelta | None


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose deliveries."""
    return with_options(
        command,
        click.option(
            "--state", type=click.Choice(_STATES), metavar="STATE", multiple=True, help="In this state; any number."
        ),
        click.option("--channel", type=click.Choice(_CHANNELS), help="By this channel."),
        click.option("--user", default="", metavar="ID", help="To this user."),
        click.option(
            "--reason",
            type=click.Choice(_REASONS),
            metavar="REASON",
            multiple=True,
            help="For this reason; any number.",
        ),
        click.option("--older-than", type=AGE, help="Created so long ago, as 30m, 12h or 7d."),
    )


@click.group()
def deliveries() -> None:
    """Look at, queue again and cancel what goes out by email and push.

    Needs the database only. Nothing shown holds an address, a content or a secret.
    """


@deliveries.command("list")
@_choosing
@click.option("--limit", type=click.IntRange(1, 10_000), default=SHOWN, show_default=True, help="Deliveries at most.")
@_JSON
def list_deliveries(limit: int, *, as_json: bool, **chosen: Unpack[Chosen]) -> None:
    """List deliveries, newest first."""
    rows, more = run(_listed(_filter(chosen), limit))
    if as_json:
        told = {"deliveries": [shown.as_json(row, _NOW()) for row in rows], "more": more}
        click.echo(json.dumps(told, indent=2))
        return
    for line in table([shown.line(row, _NOW()) for row in rows], room()) if rows else ["no deliveries"]:
        click.echo(line)
    if more:
        click.echo(f"(there are more; --limit {limit} shows these)")


@deliveries.command()
@click.argument("delivery_id", metavar="ID")
@_JSON
def show(delivery_id: str, *, as_json: bool) -> None:
    """Show one delivery, with its last attempts."""
    row = run(_one(delivery_id))
    if as_json:
        click.echo(json.dumps(shown.as_json(row, _NOW()), indent=2))
        return
    for line in shown.page(row, _NOW()):
        click.echo(line)


@deliveries.command()
@_IDS
@_choosing
def retry(ids: Sequence[str], **chosen: Unpack[Chosen]) -> None:
    """Queue deliveries again, with their attempts at zero.

    By id, what failed, was cancelled or suppressed; by options what failed, unless --state says otherwise. Rules and
    suppressions are asked anew when they are sent. What has expired, or whose notification is gone, is left.
    """
    _check(ids, chosen)
    if not ids and not chosen["state"]:
        chosen["state"] = (DeliveryState.FAILED.value,)
    _told(run(_steered(ids, chosen, RETRY)), "queued again")


@deliveries.command()
@_IDS
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(ids: Sequence[str], *, yes: bool, **chosen: Unpack[Chosen]) -> None:
    """Cancel deliveries that have not been sent. What is being sent at this moment is left."""
    _check(ids, chosen)
    if not yes:
        click.confirm("They will not be sent, unless they are queued again. Cancel them?", abort=True)
    _told(run(_steered(ids, chosen, CANCEL)), "cancelled")


def _check(ids: Sequence[str], chosen: Chosen) -> None:
    if bool(ids) == any(chosen.values()):
        raise click.UsageError("name either ids, or options that choose deliveries")


def _filter(chosen: Chosen) -> DeliveryFilter:
    age = chosen["older_than"]
    return DeliveryFilter(
        user_id=chosen["user"],
        states=frozenset(chosen["state"]) or None,
        channels=(chosen["channel"],) if chosen["channel"] else (),
        reasons=chosen["reason"],
        created_before=None if age is None else _NOW() - age,
    )


def _told(done: SteeredBatch, what: str) -> None:
    click.echo(f"{done.written.changed} deliveries {what}")
    left = [outcome for outcome in done.outcomes if outcome.left not in {None, Untouched.ALREADY}]
    for outcome in left:
        click.echo(f"{outcome.id} left: {f'it is {outcome.state}' if outcome.state else 'there is none'}", err=True)
    if done.written.incomplete:
        click.echo("the database failed on the way: run this again", err=True)
    if left or done.written.incomplete:
        sys.exit(1)


async def _listed(chosen: DeliveryFilter, limit: int) -> tuple[list[Document], bool]:
    """Return up to ``limit`` deliveries, and whether there are more."""
    rows: list[Document] = []
    async with _service() as service:
        after = None
        while True:
            page, after = await service.page(chosen, after, min(PAGE, limit - len(rows)))
            rows += page
            if after is None or len(rows) >= limit:
                return rows, after is not None


async def _one(id_: str) -> Document:
    async with _service() as service:
        try:
            return await service.get(id_)
        except NotFound:
            raise CommandFailed(f"no delivery {id_}: it never was, or is no longer kept") from None


async def _steered(ids: Sequence[str], chosen: Chosen, step: SteeringStep) -> SteeredBatch:
    async with _service() as service:
        return await (service.steer_each(ids, step) if ids else service.steer_all(_filter(chosen), step))


@asynccontextmanager
async def _service() -> AsyncIterator[DeliveryService]:
    async with opened(load(DatabaseSettings)) as database:
        retention = Retention(database.collection(schema.COLLECTION), _NOW)
        await retention.refresh()
        stored, outbox = DeliveryReads(database, retention, _NOW), OutboxRepository(database, _NOW)
        yield DeliveryService(database, stored, outbox, clock=_NOW, stopping=lambda: False)
