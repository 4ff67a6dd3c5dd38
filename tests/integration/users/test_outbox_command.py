"""`users-service outbox`: the person on call sees what waits, repeats it, and forgets it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.databases import MySQLDatabase
from tests.harness.sides import Deliveries, serving
from tests.harness.users import SECRET_KEYS, BlockingStubs, UsersServer, users_service
from users_service.cli import main


@pytest.fixture
def server(mysql_database: MySQLDatabase) -> Any:
    """Serve without a notifications service: what is left for it waits."""
    with users_service(mysql_database, notifications_address="off") as served:
        yield served


def command(server: UsersServer, *arguments: str) -> Result:
    """Run the command on the server's database."""
    environment = {**server.database.environment(), "SECRET_KEYS": SECRET_KEYS}
    return CliRunner().invoke(main, ["outbox", *arguments], env=environment)


def listed(server: UsersServer, *arguments: str) -> list[dict[str, Any]]:
    """Return what the list says, as a program reads it."""
    entries: list[dict[str, Any]] = json.loads(command(server, "list", "--json", *arguments).stdout)["entries"]
    return entries


def delete_user(server: UsersServer) -> str:
    """Leave the calls that follow a deletion; return the user's id."""
    with server.channel() as channel:
        users = BlockingStubs.on(channel).users
        user_id = users.CreateUser(pb.CreateUserRequest(email="ann@example.com")).user.id
        users.DeleteUser(pb.DeleteUserRequest(id=user_id))
    return str(user_id)


def test_what_waits_is_shown(server: UsersServer) -> None:
    """Kind, subject, tries and times, as a table and as JSON; by kind and by tries; and one by its id."""
    assert command(server, "list").stdout == "nothing waits\n"
    user_id = delete_user(server)
    entries = listed(server)
    assert [(each["kind"], each["about"], each["tried"]) for each in entries] == [
        ("delete_user_notifications", user_id, 0)
    ] * 2
    assert entries[0]["due_in_seconds"] == 0 < entries[1]["due_in_seconds"]
    assert listed(server, "--tried", "1") == listed(server, "--kind", "send_notice") == []
    assert len(listed(server, "--limit", "1")) == 1
    shown = command(server, "show", entries[0]["id"], "--json")
    assert json.loads(shown.stdout)["id"] == entries[0]["id"]
    assert user_id in command(server, "list").stdout
    assert user_id in command(server, "show", entries[0]["id"]).stdout
    assert command(server, "show", "out_unknown").exit_code == 1


def test_what_is_repeated_is_due_now(server: UsersServer) -> None:
    """By id or by kind, but never everything by mistake; what a relay holds at this moment is left to it."""
    delete_user(server)
    first, second = listed(server)
    assert command(server, "retry").exit_code == 2
    assert command(server, "retry", second["id"]).stdout == "1 entries are due now\n"
    assert all(each["due_in_seconds"] == 0 for each in listed(server))
    server.rows("UPDATE outbox SET leased_until = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE id = %s", first["id"])
    assert command(server, "retry", "--kind", "delete_user_notifications").stdout == "1 entries are due now\n"
    assert {each["id"]: each["leased"] for each in listed(server)} == {first["id"]: True, second["id"]: False}


def test_what_is_cancelled_is_gone_once_it_is_confirmed(server: UsersServer) -> None:
    """A call that is not to be made is forgotten; whoever says no changes nothing."""
    delete_user(server)
    first, second = listed(server)
    assert command(server, "cancel", first["id"]).exit_code == 1
    assert len(listed(server)) == 2
    assert command(server, "cancel", "--yes", first["id"]).stdout == "1 entries cancelled\n"
    assert [each["id"] for each in listed(server)] == [second["id"]]


def test_nothing_that_is_shown_is_secret(mysql_database: MySQLDatabase) -> None:
    """Of a code that waits to be mailed the list names the verification: neither code nor address."""
    with serving(Deliveries()) as address:
        settings: dict[str, Any] = {"notifications_address": address, "outbox_poll_ms": 3_600_000}
        with users_service(mysql_database, **settings) as server:
            server.rows(
                "INSERT INTO outbox (id, kind, payload, attempts, available_at) VALUES "
                "('out_1', 'send_notice', "
                '\'{"notice": "email_changed", "email_address": "ann@example.com", "left_at": ""}\', '
                "3, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR)"
            )
            for output in (
                command(server, "list"),
                command(server, "list", "--json"),
                command(server, "show", "out_1"),
            ):
                assert "email_changed" in output.stdout
                assert "ann@example.com" not in output.stdout
