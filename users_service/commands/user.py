"""``users-service user``: one user, the sessions of it, and its state, for the person on call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc_now
from chassis.commands.cli import CommandFailed, run, told
from chassis.errors import ServiceError
from chassis.pooling import batches
from chassis.settings import load
from users_service.accounts import repository as accounts
from users_service.commands import user_shown as shown
from users_service.credentials import repository as credentials
from users_service.credentials.model import CREDENTIAL
from users_service.mysql.database import Database
from users_service.mysql.database_clock import database_now
from users_service.mysql.rows import readable
from users_service.sessions import listing
from users_service.sessions.model import Session
from users_service.sessions.repository import end_of_disabled
from users_service.sessions.revocation import revoking
from users_service.settings import DatabaseSettings
from users_service.users import repository as users
from users_service.users.disabling import UserDisabling
from users_service.users.email import folded
from users_service.users.model import Disablement, User
from users_service.verifications.repository import void

T = TypeVar("T")
AboutUser = Callable[[Database, User], Awaitable[T]]

SHOWN: Final = 20
# How an end is typed; all in UTC.
TIMES: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
WHO: Final = click.argument("who", metavar="EMAIL|ID")
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
YES: Final = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def user() -> None:
    """Look at one user, and disable, enable or sign out that user.

    Needs the database only, and works while the services run, or do not. Nothing shown is a secret.
    """


@user.command()
@WHO
@JSON
def show(who: str, as_json: bool) -> None:
    """Show who it is, the state, the ways to sign in, and how many sessions are live."""
    fields = run(_with_user(who, _fields))
    _print(fields, shown.fields(fields), as_json=as_json)


@user.command()
@WHO
@click.option("--ended", is_flag=True, help="Also sessions that have ended, until they are purged.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=SHOWN, show_default=True, help="Sessions at most.")
@JSON
def sessions(who: str, ended: bool, limit: int, as_json: bool) -> None:
    """List the live sessions, the newest first."""

    async def read(database: Database, found: User) -> list[Session]:
        now = utc_now()

        async def work(connection: AsyncConnection) -> list[Any]:
            if ended:
                return await listing.list_all(connection, found.id, None, limit + 1)
            return await listing.list_live(connection, found.id, now, None, limit + 1)

        return readable(listing.session_of, await database.query(work))

    rows, now = run(_with_user(who, read)), utc_now()
    listed = [shown.session(row, now) for row in rows[:limit]]
    lines = [line for row in listed for line in shown.session_lines(row)] or ["no session"]
    if len(rows) > limit:
        lines.append(f"(there are more; --limit {limit} shows these)")
    _print({"sessions": listed, "more": len(rows) > limit}, lines, as_json=as_json)


@user.command()
@WHO
@click.option("--reason", default="", help="Why, for people; at most 255 characters.")
@click.option("--until", type=click.DateTime(TIMES), help="When it ends by itself, in UTC; without it, enable ends it.")
@YES
@JSON
def disable(who: str, reason: str, until: datetime | None, yes: bool, as_json: bool) -> None:
    """Shut a user out: all sessions end, and none is created. Again: change reason and end.

    Of a user with some 100,000 sessions, `revoke` ends them in batches first.
    """
    if len(reason) > shown.LONGEST_REASON:
        raise click.UsageError(f"--reason has more than {shown.LONGEST_REASON} characters")
    wanted = Disablement(reason, until.replace(tzinfo=UTC) if until else None)
    found = run(_with_user(who, _itself))
    _confirm(f"Shut {found.id} out?", yes=yes)
    disabled, ended = run(_with_disabling(lambda disabling: disabling.disable_user(found.id, wanted, "")))
    lines = [f"{disabled.id} is disabled; {ended} sessions ended"]
    _print({"id": disabled.id, "state": shown.state(disabled), "ended_sessions": ended}, lines, as_json=as_json)


@user.command()
@WHO
@JSON
def enable(who: str, as_json: bool) -> None:
    """Let a user in again. No session comes back."""
    found = run(_with_user(who, _itself))
    enabled = run(_with_disabling(lambda disabling: disabling.enable_user(found.id, "")))
    _print({"id": enabled.id, "state": shown.state(enabled)}, [f"{enabled.id} is active"], as_json=as_json)


@user.command()
@WHO
@YES
@JSON
def revoke(who: str, yes: bool, as_json: bool) -> None:
    """End all sessions of a user, who may sign in again."""
    found = run(_with_user(who, _itself))
    _confirm(f"Sign {found.id} out everywhere?", yes=yes)

    async def end(database: Database, found: User) -> batches.Written:
        return await batches.write(revoking(database, found.id, utc_now()))

    done = run(_with_user(found.id, end))
    if done.incomplete:
        raise CommandFailed(f"{done.changed} sessions ended, and others are left: run this again")
    _print({"id": found.id, "ended_sessions": done.changed}, [f"{done.changed} sessions ended"], as_json=as_json)


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _print(fields: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    click.echo(json.dumps(fields, indent=2, default=shown.plain) if as_json else "\n".join(lines))


async def _with_user(who: str, work: AboutUser[T]) -> T:
    async with Database(load(DatabaseSettings)) as database:

        async def find(connection: AsyncConnection) -> User | None:
            # Ids that were imported may look like addresses.
            return await users.read_user(connection, who) or await users.read_by_email(connection, folded(who))

        found = await database.query(find)
        if found is None:
            raise CommandFailed(f"no user has the id or the address {shown.printable(who)}")
        return await work(database, found)


async def _with_disabling(work: Callable[[UserDisabling], Awaitable[T]]) -> T:
    async with Database(load(DatabaseSettings)) as database:
        try:
            return await work(UserDisabling(database, utc_now, database_now, end_of_disabled, void))
        except ServiceError as error:
            what = [f"--{each.field} {each.description}" for each in error.violations]
            raise CommandFailed("; ".join(what) or told(error)) from None


async def _itself(_: Database, found: User) -> User:
    return found


async def _fields(database: Database, found: User) -> dict[str, Any]:
    async def work(connection: AsyncConnection) -> dict[str, Any]:
        linked = readable(accounts.account_of, await accounts.list_by_user(connection, found.id))
        credential = await credentials.read_by_user(connection, found.id)
        providers = [each.provider for each in linked if each.provider != CREDENTIAL]
        has_password = credential is not None and credential.password_hash is not None
        live = await listing.count_live(connection, found.id, utc_now())
        return shown.user(found, ["password", *providers] if has_password else providers, live)

    return await database.query(work)
