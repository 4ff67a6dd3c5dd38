"""The ``policy`` command of both services: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from notifications_service.commands.policy import policy as of_notifications
from users_service.commands.policy import policy as of_users

POLICY = """
[[rules]]
callers = ["spiffe://example.org/ns/web/*", "dns:web.internal"]
rpcs = ["read", "sign-in"]
calls_per_second = 200
burst = 400

[[rules]]
callers = ["dns:admin.internal"]
rpcs = ["admin", "*/ListDeliveries"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a policy for both services."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def invoke(command: click.Command, *arguments: object, **environment: object) -> Result:
    """Run a command."""
    given = {name: str(value) for name, value in environment.items()}
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env=given)


@pytest.mark.parametrize("command", [of_users, of_notifications])
def test_check_prints_rates_of_a_process_and_of_all(command: click.Command, file: Path) -> None:
    """Rates are counted in each process, so the sum is what a caller really gets."""
    result = invoke(command, "check", file, "--workers", 3)
    assert result.exit_code == 0
    (_, first, second) = result.output.splitlines()
    assert first.split()[-3:] == ["200", "600", "400"]
    assert second.split()[-3:] == ["-", "-", "-"]


@pytest.mark.parametrize("command", [of_users, of_notifications])
def test_a_wrong_policy_is_one_line_and_exit_code_2(command: click.Command, tmp_path: Path) -> None:
    """As at the start of a server, which it would have stopped."""
    path = tmp_path / "wrong.toml"
    path.write_text(POLICY.replace('"sign-in"', '"SessionService/SignInn"'))
    result = invoke(command, "check", path)
    assert result.exit_code == 2
    assert result.stderr == f"{path}: rule 1: there is no RPC SessionService/SignInn\n"
    assert invoke(command, "check", tmp_path / "none").exit_code == 2


def test_explain_names_the_rules_that_grant(file: Path) -> None:
    """Who asks why a caller gets through reads it off."""
    result = invoke(of_users, "explain", "dns:web.internal", "SessionService/SignIn", "--file", file)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "allowed, 200 calls a second in each process",
        "  rule 1: spiffe://example.org/ns/web/* dns:web.internal -> read sign-in",
    ]


def test_explain_says_that_a_call_is_denied(file: Path) -> None:
    """The exit code is for scripts; the file may come from the server's own setting."""
    result = invoke(
        of_users,
        "explain",
        "dns:web.internal",
        "vibework.users.v1.UserService/DeleteUser",
        ACCESS_POLICY_FILE=file,
    )
    assert result.exit_code == 1
    assert result.output == "denied: no rule lets dns:web.internal call UserService/DeleteUser\n"


def test_explain_knows_the_rpcs_of_its_service(file: Path) -> None:
    """A misspelt RPC is no denial; and without any policy there is nothing to explain."""
    for rpc in ("UserService/Delete", "NotificationService/ListNotifications"):
        result = invoke(of_users, "explain", "dns:web.internal", rpc, "--file", file)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"there is no RPC {rpc}; there are: AccountService/ChangePassword, ")
    missing = invoke(of_users, "explain", "a", "UserService/GetUser")
    assert (missing.exit_code, missing.stderr) == (
        1,
        "there is no policy: name one with --file, or by ACCESS_POLICY_FILE\n",
    )
