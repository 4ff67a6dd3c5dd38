"""`users-service user`: the person on call sees one user in 80 columns, and shuts it out, lets it in, signs it out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from click.testing import CliRunner, Result
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS, BlockingStubs, UsersServer, users_service
from users_service.cli import main

EMAIL: Final = "ann@example.com"
PASSWORD: Final = "a password of tests"
# What somebody calls themselves and their browser, so that a terminal does what they like.
HOSTILE: Final = "\x1b[2J\x1b]0;owned\x07" + "漢字" * 60


@pytest.fixture(scope="module")
def server(mysql_module_database: MySQLDatabase) -> Iterator[UsersServer]:
    """A server."""
    with users_service(mysql_module_database) as served:
        yield served


@pytest.fixture
def stubs(server: UsersServer) -> Iterator[BlockingStubs]:
    """Its stubs."""
    with server.channel() as channel:
        yield BlockingStubs.on(channel)


@pytest.fixture
def user_id(stubs: BlockingStubs) -> Iterator[str]:
    """A user with a password, who goes after the test."""
    created = stubs.users.CreateUser(pb.CreateUserRequest(email=EMAIL, password=PASSWORD, name=HOSTILE))
    yield created.user.id
    stubs.users.DeleteUser(pb.DeleteUserRequest(id=created.user.id))


def command(server: UsersServer, *arguments: str, answer: str = "") -> Result:
    """Run the command on the server's database."""
    environment = {**server.database.environment(), "SECRET_KEYS": SECRET_KEYS}
    return CliRunner().invoke(main, ["user", *arguments], env=environment, input=answer)


def told(server: UsersServer, *arguments: str) -> dict[str, Any]:
    """Return what the command says, as a program reads it."""
    result = command(server, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def signed_in(stubs: BlockingStubs) -> sessions_pb.SignInResponse:
    """Sign in from a browser."""
    client = user_pb2.ClientContext(ip_address="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", user_agent=HOSTILE)
    request = sessions_pb.SignInRequest(email=EMAIL, password=PASSWORD, client=client)
    return stubs.sessions.SignIn(request)


def columns(line: str) -> int:
    """Return how many columns of a terminal a line takes, counting characters of East Asia twice."""
    return sum(2 if "\u2e80" <= each <= "\uffef" else 1 for each in line)


def test_a_user_is_found_by_id_and_by_address(server: UsersServer, stubs: BlockingStubs, user_id: str) -> None:
    """In any case of the letters; who is not there is one line and exit code 1."""
    by_id = told(server, "show", user_id)
    assert by_id == told(server, "show", EMAIL.upper())
    assert (by_id["id"], by_id["email"], by_id["state"], by_id["ways_in"]) == (user_id, EMAIL, "active", ["password"])
    missing = command(server, "show", "nobody@example.com")
    assert missing.exit_code == 1
    assert missing.output == "no user has the id or the address nobody@example.com\n"


def test_everything_fits_a_terminal_and_does_nothing_to_it(
    server: UsersServer, stubs: BlockingStubs, user_id: str
) -> None:
    """80 columns whatever people call themselves, no control character, no secret; programs get it all."""
    token = signed_in(stubs).session_token
    disabled = command(server, "disable", user_id, "--yes", "--reason", "spam " * 50)
    stored = server.rows("SELECT password FROM accounts WHERE user_id = %s", user_id)[0][0]
    outputs = [
        disabled.output,
        *(command(server, *what, EMAIL).output for what in (["show"], ["sessions", "--ended"], ["enable"])),
    ]
    for output in outputs:
        assert all(columns(line) <= 80 for line in output.splitlines()), output
        assert all(each.isprintable() for line in output.splitlines() for each in line)
        assert not any(secret in output for secret in (token, PASSWORD, stored, "argon2"))
    assert "漢字" in outputs[1]
    assert HOSTILE in told(server, "show", EMAIL)["name"]
    assert token not in command(server, "sessions", "--ended", "--json", EMAIL).output


def test_sessions_are_listed_with_what_became_of_them(server: UsersServer, stubs: BlockingStubs, user_id: str) -> None:
    """Live ones alone, or all of them, the newest first; more than asked for are said to be there."""
    assert command(server, "sessions", EMAIL).output == "no session\n"
    first, second = signed_in(stubs).session, signed_in(stubs).session
    stubs.sessions.RevokeSession(sessions_pb.RevokeSessionRequest(session_id=first.id))
    (live,) = told(server, "sessions", EMAIL)["sessions"]
    assert (live["id"], live["state"], live["authentication_method"]) == (second.id, "live", "password")
    assert live["ended_at"] is None
    assert (live["user_agent"], live["ip_address"]) == (second.user_agent, second.ip_address)
    every = told(server, "sessions", EMAIL, "--ended")
    assert [(each["id"], each["state"]) for each in every["sessions"]] == [(second.id, "live"), (first.id, "revoked")]
    assert not every["more"]
    assert told(server, "sessions", EMAIL, "--ended", "--limit", "1")["more"]
    text = command(server, "sessions", EMAIL, "--ended", "--limit", "1").output
    assert second.id in text
    assert "there are more" in text


def test_a_user_is_disabled_and_enabled_from_a_terminal(
    server: UsersServer, stubs: BlockingStubs, user_id: str
) -> None:
    """As by the calls: sessions end, the state is told, an end in UTC; whoever says no changes nothing."""
    signed_in(stubs)
    assert command(server, "disable", EMAIL, answer="n\n").exit_code == 1
    assert told(server, "show", EMAIL)["live_sessions"] == 1
    until = (datetime.now(UTC) + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
    done = command(server, "disable", EMAIL, "--reason", "spam", "--until", f"{until:%Y-%m-%d}", answer="y\n")
    assert done.stdout.endswith(f"{user_id} is disabled; 1 sessions ended\n")
    found = stubs.users.GetUser(pb.GetUserRequest(id=user_id)).user
    assert (found.state, found.disabled_reason) == (user_pb2.USER_STATE_DISABLED, "spam")
    assert found.disabled_until.ToDatetime(UTC) == until
    with pytest.raises(grpc.RpcError):
        signed_in(stubs)
    fields = told(server, "show", EMAIL)
    assert (fields["state"], fields["disabled_until"], fields["live_sessions"]) == ("disabled", until.isoformat(), 0)
    assert command(server, "enable", EMAIL).output == f"{user_id} is active\n"
    assert signed_in(stubs).user.state == user_pb2.USER_STATE_ACTIVE
    recorded = "SELECT kind FROM user_events WHERE user_id = %s AND kind IN ('disabled', 'enabled') ORDER BY id"
    assert server.rows(recorded, user_id) == [("disabled",), ("enabled",)]


@pytest.mark.usefixtures("user_id")
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--until", "2020-01-01"], 1, "--until must be after now\n"),
        (["--until", "tomorrow"], 2, "does not match the formats"),
        (["--reason", "x" * 256], 2, "--reason has more than 255 characters"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    server: UsersServer, options: list[str], code: int, says: str
) -> None:
    """A wrong option is one line that names it; the user stays as is."""
    before = told(server, "show", EMAIL)
    result = command(server, "disable", EMAIL, "--yes", *options)
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert told(server, "show", EMAIL) == before


def test_a_user_is_signed_out_everywhere(server: UsersServer, stubs: BlockingStubs, user_id: str) -> None:
    """All sessions end, counted, and the user may sign in again; whoever says no ends none."""
    for _ in range(3):
        signed_in(stubs)
    assert command(server, "revoke", EMAIL, answer="n\n").exit_code == 1
    assert told(server, "revoke", EMAIL, "--yes") == {"id": user_id, "ended_sessions": 3}
    assert told(server, "show", EMAIL)["live_sessions"] == 0
    assert command(server, "revoke", EMAIL, "--yes").output == "0 sessions ended\n"
    signed_in(stubs)


def test_a_database_that_is_away_is_one_line() -> None:
    """Not a traceback."""
    environment = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "1", "MYSQL_USER": "u", "MYSQL_PASSWORD": "p"}
    result = CliRunner().invoke(main, ["user", "show", EMAIL], env={**environment, "MYSQL_DATABASE": "d"})
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
