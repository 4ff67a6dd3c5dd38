"""Whatever the commands tell a person fits a terminal of 80 columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
import click.testing
import pymongo
import pytest
from click.testing import CliRunner
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb

from notifications_service.cli import main as notifications_main
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.users import SECRET_KEYS, BlockingStubs, users_service
from tests.integration.deliveries.rows import delivery
from users_service.cli import main as users_main

pytestmark = pytest.mark.long

COLUMNS: Final = 80
EMAIL: Final = "ann.with.a.long.address.that.is.not.unusual@subdomain.of.example.com"
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
# However busy the machine is.
PATIENT: Final = dict.fromkeys(("MYSQL_QUERY_TIMEOUT_MS", "MONGODB_QUERY_TIMEOUT_MS"), "60000")
# Commands that tell something, in the order in which they are run; `{…}`: ids that `--json` of the lists has.
RUN: Final[Mapping[click.Group, tuple[str, ...]]] = {
    users_main: (
        "status",
        "explain",
        "outbox list",
        "outbox show {entry}",
        f"user show {EMAIL}",
        f"user sessions {EMAIL} --ended",
        f"user disable {EMAIL} --yes",
        f"user enable {EMAIL}",
        f"user revoke {EMAIL} --yes",
    ),
    notifications_main: ("status", "explain", "deliveries list", "deliveries show {delivery}"),
}


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield all commands below one, with the words that they are called by."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        if (below := command.get_command(context, name)) is not None:
            yield from leaves(below, *path, name)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands take what they print to for a terminal, as wide as COLUMNS says."""
    monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda _: True)


def told(main: click.Group, environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command on a terminal of 80 columns; return what it prints."""
    variables = {**environment, **PATIENT, "SECRET_KEYS": SECRET_KEYS, "COLUMNS": str(COLUMNS)}
    result = CliRunner().invoke(main, arguments, env=variables)
    assert result.exit_code == 0, result.output
    assert result.stdout
    return result.stdout


def too_wide(text: str) -> list[str]:
    """Return the lines that do not fit."""
    return [line for line in text.splitlines() if len(line) > COLUMNS]


def test_every_command_that_tells_something_is_tried() -> None:
    """Those with `--json` have a table for people; a new one is to be run below."""
    for main, lines in RUN.items():
        tables = {path for path, command in leaves(main) if any(each.name == "as_json" for each in command.params)}
        tried = {
            tuple(line.split()[: len(path)])
            for line in lines
            for path in tables
            if line.split()[: len(path)] == [*path]
        }
        assert tried == tables


@pytest.mark.parametrize("main", RUN, ids=["users", "notifications"])
def test_help_fits(main: click.Group) -> None:
    """As far as it is ours; what click itself wraps, it wraps."""
    for path, _ in leaves(main):
        assert too_wide(told(main, {}, *path, "--help")) == [], path


def test_what_the_users_service_tells_fits(mysql_database: MySQLDatabase) -> None:
    """Long addresses, names of indexes, plans and statements are wrapped, and nothing is cut off at the right."""
    with (
        users_service(mysql_database, notifications_address="off", mysql_query_timeout_ms=60_000) as server,
        server.channel() as channel,
    ):
        stubs = BlockingStubs.on(channel)
        by = user_pb2.ClientContext(ip_address="2001:db8:1234:5678:9abc:def0:1234:5678", user_agent=BROWSER)
        signing_up = sessions_pb.SignUpRequest(email=EMAIL, password="a password of tests", client=by)
        stubs.sessions.SignUp(signing_up)
        gone = stubs.users.CreateUser(users_pb.CreateUserRequest(email="bob@example.com")).user.id
        stubs.users.DeleteUser(users_pb.DeleteUserRequest(id=gone))
        environment = mysql_database.environment()
        entries = json.loads(told(users_main, environment, "outbox", "list", "--json"))["entries"]
        for line in RUN[users_main]:
            printed = told(users_main, environment, *line.format(entry=entries[0]["id"]).split())
            assert too_wide(printed) == [], line


def test_what_the_notifications_service_tells_fits(mongodb_database: MongoDatabase) -> None:
    """The keys of an index are more than a line."""
    row: dict[str, Any] = delivery("user_with_an_id_of_another_system_0123456789")
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        client.get_default_database().deliveries.insert_one(row)
    for line in RUN[notifications_main]:
        words = line.format(delivery=row["_id"]).split()
        assert too_wide(told(notifications_main, mongodb_database.environment(), *words)) == [], line
