"""What is done in another terminal while `script/server` runs: its banner's commands, and `script/reset`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from vibework.notifications.v1 import (
    NOTIFICATION_TYPE_EMAIL,
    CreateNotificationRequest,
    NotificationContent,
    NotificationServiceStub,
)
from vibework.testing.local import ports
from vibework.users.v1 import CountUsersRequest, CreateUserRequest, UserServiceStub

from tests.e2e.script_server import ROOT, Run, running
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for

MODULES = {
    "script/run": "script.local.command",
    "script/reset": "script.local.reset",
    "script/mail": "script.local.show_mail",
}
# The servers are shared with other tests, whose services are connected to them.
SHARED = "--while-in-use"


@dataclass(frozen=True)
class Beside:
    """A script/server on databases that its environment names, and another terminal that knows nothing of them."""

    server: Run

    def type(self, line: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Type a line of the banner, with further arguments and variables."""
        script, *arguments = shlex.split(line, comments=True)
        path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        named = ("MYSQL_", "MONGODB_")
        known = {name: value for name, value in os.environ.items() if not name.startswith(named)}
        return subprocess.run(
            [sys.executable, "-m", MODULES[script], *arguments, *more],
            cwd=ROOT,
            env={**known, "PYTHONPATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def lines(self, script: str) -> list[str]:
        """Return the lines of the banner that call a script."""
        return [line for line in self.server.banner if line.startswith(script)]

    def users(self) -> int:
        """Ask the service how many users there are; it is waited for where it is being started."""
        with grpc.insecure_channel(self.server.address) as channel:
            return (
                UserServiceStub(channel)
                .CountUsers(CountUsersRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
                .count
            )


@pytest.fixture
def beside(tmp_path: Path, mysql_database: MySQLDatabase, mongodb_database: MongoDatabase) -> Iterator[Beside]:
    """A script/server with a folder of its own, on databases of the environment."""
    databases = {**mysql_database.environment(), **mongodb_database.environment()}
    with running(tmp_path, ports.free_port(), ports.free_port(), databases) as server:
        server.wait_until_ready()
        yield Beside(server)
        if server.process.poll() is None:
            server.end(signal.SIGTERM)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_banner_can_be_typed_and_the_databases_emptied_again(beside: Beside) -> None:
    """Its commands reach the databases that script/server uses, and reset leaves it running on empty ones."""
    beside.server.assert_the_banner_can_be_typed()
    assert beside.users() == 4
    users, _ = beside.lines("script/run")

    (reset,) = beside.lines("script/reset")
    done = beside.type(reset, "--yes", SHARED)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Both databases are empty and migrated."), done.stderr
    assert beside.users() == 0
    # And once more: what was stopped runs again, and may be asked to stop again.
    done = beside.type(users.replace("1000", "2"))
    assert done.returncode == 0, done.stderr
    assert beside.users() == 2
    assert beside.type(reset, "--yes", SHARED).returncode == 0
    assert beside.users() == 0


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_reset_of_other_databases_is_refused_and_one_that_nobody_wants_stops_nothing(beside: Beside) -> None:
    """Where the environment names other databases than script/server uses, it is not clear which are meant."""
    (reset,) = beside.lines("script/reset")
    done = beside.type(reset, "--yes", SHARED, MYSQL_HOST="elsewhere.example")
    assert done.returncode == 2
    assert done.stderr.startswith("reset: MYSQL_HOST names another database than that of the script/server on ")
    done = beside.type(reset)
    assert (done.returncode, done.stderr) == (2, "reset: nobody is there to ask; --yes deletes without asking\n")
    assert beside.users() == 0
    assert "script/reset is at work" not in beside.server.end(signal.SIGTERM)[1]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_newcomer_sees_a_mail(beside: Beside) -> None:
    """What goes out by email is caught, told in the log, and shown by the command of the banner."""
    (mail,) = beside.lines("script/mail")
    assert "0 mails have been caught" in beside.type(mail).stderr
    with grpc.insecure_channel(beside.server.address) as channel:
        create_user = CreateUserRequest(email="ada@example.com", email_verified=True)
        user = UserServiceStub(channel).CreateUser(create_user, timeout=PATIENCE_SECONDS).user
    (address,) = [line.split()[1] for line in beside.server.banner if line.startswith("notifications ")]
    content = NotificationContent(title="Olá, Ada", message="Good to see you", type=NOTIFICATION_TYPE_EMAIL)
    with grpc.insecure_channel(address) as channel:
        create = CreateNotificationRequest(user_id=user.id, content=content)
        NotificationServiceStub(channel).CreateNotification(create, timeout=PATIENCE_SECONDS)
    wait_for(lambda: beside.type(mail).returncode == 0, "the mail to be caught")
    shown = beside.type(mail).stdout
    assert "To: ada@example.com\nSubject: Olá, Ada\n" in shown
    assert "Good to see you" in shown
    assert "mail to ada@example.com: Olá, Ada" in beside.server.end(signal.SIGTERM)[1]
