"""`script/call`: what somebody types who has no grpcurl."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable

import pytest

from script import call
from tests.harness.pair import Pair

pytestmark = pytest.mark.xdist_group("client")

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(pair: Pair, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a call; returns the exit code and what was printed to both outputs."""
    here = {"USERS_ADDRESS": pair.users, "NOTIFICATIONS_ADDRESS": pair.notifications}

    def type_it(*arguments: str) -> tuple[int, str, str]:
        code = call.main(arguments, here)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return type_it


def test_a_call_prints_its_answer(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """By short name or long, for either service, the request as an argument or from a pipe."""
    email = f"{uuid.uuid4().hex}@example.com"
    code, out, _ = typed("UserService/CreateUser", json.dumps({"email": email}))
    made = json.loads(out)["user"]
    assert (code, made["email"]) == (0, email)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"id": made["id"]})))
    assert json.loads(typed("vibework.users.v1.UserService/GetUser", "-")[1])["user"] == made
    code, out, _ = typed("ListNotifications", json.dumps({"user_id": made["id"]}))
    assert (code, json.loads(out).keys()) == (0, {"as_of"})


def test_an_error_says_what_to_do(typed: Typed) -> None:
    """Code, reason, fields and variables, on the other output, with another exit code."""
    code, out, err = typed("SignUp", '{"email": "ada", "password": "short"}')
    assert (code, out) == (1, "")
    assert err.startswith("INVALID_ARGUMENT INVALID_FIELDS: ")
    assert "  email: " in err
    code, _, err = typed("GetUser", '{"id": "nobody"}')
    assert (code, "  id: nobody\n" in err, "  request " in err) == (1, True, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("GetNobody",), "script/call --list"),
        (("GetUser", "{"), "JSON"),
        (("GetUser", '{"surname": "x"}'), "surname"),
    ],
)
def test_what_is_no_call_is_told(typed: Typed, arguments: tuple[str, ...], says: str) -> None:
    """One line, before anything is called."""
    code, out, err = typed(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("call: ")
    assert says in err


def test_all_that_can_be_called_is_listed(typed: Typed) -> None:
    """What the contract has, by the names that a call takes."""
    code, out, _ = typed("--list")
    assert code == 0
    assert {"vibework.users.v1.UserService/GetUser", "vibework.notifications.v1.DeliveryService/SendDirect"} < set(
        out.splitlines()
    )
    assert all(call.named(line).full_name.endswith(line.rpartition("/")[2]) for line in out.splitlines())
