"""`users-service import`: lines of a file become users, and it says which do not, and from where to go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.patience import wait_for
from tests.harness.users import Stubs, UsersServer
from tests.integration.users.imports.coming_in import HASH, PASSWORD, account, incoming, seconds, session
from tests.integration.users.imports.commands import command, environment, line, reports, written
from tests.integration.users.ways_to_sign_in import new_user, session_is_valid, signs_in


@pytest.mark.long
async def test_users_of_a_file_come_in_with_their_past(users: Stubs, users_server: UsersServer, tmp_path: Path) -> None:
    """What the RPC does for a thousand the command does for a file; a second run changes nothing."""
    message = incoming(password_hash=HASH, accounts=[account(access_token="t")], sessions=[session("of a file")])
    path = written(tmp_path / "users.jsonl", [message, *(incoming() for _ in range(700))])
    done = command(users_server.database, "import", path)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert b"701 imported, 0 there already, 0 refused" in done.stderr
    assert await session_is_valid(users, "of a file")
    assert await signs_in(users, message.email, PASSWORD) == "OK"
    again = command(users_server.database, "import", path)
    assert again.returncode == 0
    assert b"0 imported, 701 there already, 0 refused" in again.stderr


async def test_lines_that_are_refused_are_reported_and_hold_up_no_other(
    users: Stubs, users_server: UsersServer
) -> None:
    """Each by its number, with reason and field; what is no user at all is, too, and nothing of it is repeated."""
    there = await new_user(users)
    good = incoming()
    given = b"".join(
        [
            b"\xef\xbb\xbf" + line(incoming()),
            line(incoming(email=there.email)),
            b"\n  \n",
            b'{"id": "x", "email": "a secret',
            b"\n[1]\n",
            b'{"id": "x", "mail": "a secret"}\n',
            b'{"id": "x", "accounts": [{"account": {"provider": 7}}], "createdAt": "a secret"}\n',
            line(incoming(created_at=seconds(-5))),
            b"x" * (5 << 20) + b"\n",
            line(good).rstrip(b"\n"),
        ]
    )
    done = command(users_server.database, "import", "-", given=given)
    assert done.returncode == 3, done.stderr
    assert [(each["line"], each["reason"], each["field"]) for each in reports(done)] == [
        (2, "EMAIL_TAKEN", "email"),
        (5, "INVALID_FIELDS", ""),
        (6, "INVALID_FIELDS", ""),
        (7, "INVALID_FIELDS", "mail"),
        (8, "INVALID_FIELDS", "accounts.account.provider"),
        (9, "INVALID_FIELDS", "created_at"),
        (10, "INVALID_FIELDS", ""),
    ]
    assert reports(done)[0]["id"] != ""
    assert b"secret" not in done.stdout + done.stderr
    assert b"2 imported" in done.stderr
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE id = %s", good.id) == [(1,)]


@pytest.mark.long
def test_validate_only_and_from_line(users_server: UsersServer, tmp_path: Path) -> None:
    """Whoever tries a file stores nothing; whoever goes on leaves the lines before alone."""
    messages = [incoming() for _ in range(10)]
    path = written(tmp_path / "users.jsonl", messages)
    tried = command(users_server.database, "import", "--validate-only", path)
    assert b"10 imported" in tried.stderr
    count = "SELECT COUNT(*) FROM users WHERE id IN ({})".format(", ".join(["%s"] * 10))
    ids = [message.id for message in messages]
    assert users_server.rows(count, *ids) == [(0,)]
    done = command(users_server.database, "import", "--from-line", "8", path)
    assert b"3 imported" in done.stderr
    assert users_server.rows(count, *ids) == [(3,)]


# Where the tests run in the background, a shell has had them ignore Ctrl-C, and what they start inherits that.
AT_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("users_service", run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_an_import_that_ended_early_goes_on(users_server: UsersServer, tmp_path: Path, how: signal.Signals) -> None:
    """Interrupted it names the line; killed it may begin anew: in the end everybody is there once, and whole."""
    messages = [incoming(password_hash=HASH, sessions=[session()]) for _ in range(3_000)]
    path = written(tmp_path / "users.jsonl", messages)
    before = users_server.rows("SELECT COUNT(*) FROM sessions")[0][0]
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "import", path],
        env=environment(users_server.database),
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: users_server.rows("SELECT COUNT(*) FROM sessions")[0][0] > before, "the first batch")
    process.send_signal(how)
    _, said = process.communicate()
    options: list[str] = []
    if how is signal.SIGINT and process.returncode:
        assert b"go on with --from-line " in said, said
        options = ["--from-line", said.rpartition(b"--from-line ")[2].split()[0].decode()]
    done = command(users_server.database, "import", *options, path)
    assert done.returncode == 0, done.stderr
    assert users_server.rows("SELECT COUNT(*) FROM sessions") == [(before + 3_000,)]
    first, last = messages[0].id, messages[-1].id
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE id IN (%s, %s)", first, last) == [(2,)]


@pytest.mark.long
def test_an_import_without_a_database_says_so_in_one_line(users_server: UsersServer, tmp_path: Path) -> None:
    """And names the line that it has not reached."""
    path = written(tmp_path / "users.jsonl", [incoming()])
    done = command(users_server.database, "import", path, settings={"MYSQL_PORT": "1"})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(b"all lines up to 0 are done: go on with --from-line 1")
    assert b"Traceback" not in done.stderr
