"""An adoption that was cut off goes on where it stopped, and comes to the same end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event

from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS
from tests.integration.users.adoption.adopting import Person, assert_adopted, better_auth, refused, rows, run
from tests.integration.users.adoption.source import source
from users_service.migrations.adoption import reading

Make = Callable[[MySQLDatabase], list[Person]]
# Statements by which each run comes further than the one before.
STEP: Final = 13
MANY: Final = 2_500


class Cut(Exception):
    """The process has ended, as far as the database can tell."""


@contextmanager
def cut(statements: int = 10_000, before: str = "no statement has this") -> Iterator[None]:
    """Let no further statement be sent after so many, or from the first one on that has a text in it."""
    sent, ended = 0, False

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal sent, ended
        sent += 1
        ended = ended or sent > statements or before in statement
        if ended:
            raise Cut

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


@pytest.mark.long
@pytest.mark.parametrize("make", [better_auth, source])
def test_an_adoption_goes_on_wherever_it_was_cut_off(
    mysql_empty_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    """Whichever statement was the last, nothing is lost, nothing is there twice, and nobody need put anything right."""
    monkeypatch.setattr(reading, "BATCH", 1)
    everybody = make(mysql_empty_database)
    runs, done = 0, None
    while done is None or done.exit_code:
        runs += 1
        with cut(runs * STEP):
            done = run(mysql_empty_database, "migrate", "up")
    assert runs > 5
    assert "adopted 3 users, 4 sessions, " in done.output
    assert rows(mysql_empty_database, "SHOW TABLES LIKE 'vibework_adoption'") == []
    assert_adopted(mysql_empty_database, everybody)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["users", "sessions", "accounts"])
def test_a_batch_and_its_note_are_one(mysql_empty_database: MySQLDatabase, kind: str) -> None:
    """Who is cut off between the two has stored neither, so no row is in the way of its own copy."""
    everybody = better_auth(mysql_empty_database)
    with cut(before=f"INSERT INTO {kind}"):
        run(mysql_empty_database, "migrate", "up")
    with cut(before="UPDATE vibework_adoption"):
        assert run(mysql_empty_database, "migrate", "up").exit_code == 1
    assert rows(mysql_empty_database, f"SELECT COUNT(*) FROM {kind}") == [(0,)]
    assert "adopted 3 users, 4 sessions, 3 accounts; " in run(mysql_empty_database, "migrate", "up").output
    assert_adopted(mysql_empty_database, everybody)


@pytest.mark.long
def test_batches_follow_each_other(mysql_empty_database: MySQLDatabase) -> None:
    """More rows than a batch holds are copied once each, in whatever order their ids are in."""
    better_auth(mysql_empty_database)
    numbers = "(SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n AS n FROM {0} a, {0} b, {0} c, {0} d) numbers".format(
        "(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 "
        "UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
    )
    rows(
        mysql_empty_database,
        "INSERT INTO user (id, name, email, emailVerified) "
        "SELECT LEFT(SHA2(n, 256), 20), '', CONCAT(n, '@example.com'), 1 "
        f"FROM {numbers} WHERE n < {MANY}",
    )
    done = run(mysql_empty_database, "migrate", "up")
    assert f"adopted {MANY + 3:,} users" in done.output, done.output
    assert rows(mysql_empty_database, "SELECT COUNT(*) FROM users WHERE email_verified") == [(MANY + 1,)]


@pytest.mark.long
def test_what_came_after_the_check_is_named(mysql_empty_database: MySQLDatabase) -> None:
    """Where the other system still writes, the copy stops at what does not fit, and goes on once that is put right."""
    everybody = better_auth(mysql_empty_database)
    with cut(before="INSERT INTO accounts"):
        assert run(mysql_empty_database, "migrate", "up").exit_code == 1
    assert rows(mysql_empty_database, "SELECT COUNT(*) FROM sessions") == [(4,)]
    rows(mysql_empty_database, "UPDATE account SET scope = REPEAT('x', 2049) WHERE providerId = 'google'")
    told = refused(run(mysql_empty_database, "migrate", "up"))
    assert "the table account " in told
    assert "The rest follows" in told
    rows(mysql_empty_database, "UPDATE account SET scope = NULL")
    assert "adopted 3 users, 4 sessions, 3 accounts" in run(mysql_empty_database, "migrate", "up").output
    assert_adopted(mysql_empty_database, everybody)


@pytest.mark.long
def test_rows_that_came_behind_the_copy_are_told(mysql_empty_database: MySQLDatabase) -> None:
    """Nobody believes that all are here while the other system goes on."""
    better_auth(mysql_empty_database)
    with cut(before="INSERT INTO accounts"):
        run(mysql_empty_database, "migrate", "up")
    late = "INSERT INTO user (id, name, email, emailVerified) VALUES ('0', '', 'dan@example.com', 0)"
    rows(mysql_empty_database, late)
    done = run(mysql_empty_database, "migrate", "up")
    assert done.exit_code == 0, done.output
    assert "+1 rows in user since they were copied: the other system is still at work\n" in done.output


@pytest.mark.long
def test_a_big_table_is_copied_without_a_lock(
    mysql_empty_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where ours is big already, as it is when a copy goes on, nothing of it is refused."""
    monkeypatch.setattr(reading, "BATCH", 1)
    everybody = better_auth(mysql_empty_database)
    with cut(before="INSERT INTO accounts"):
        run(mysql_empty_database, "migrate", "up")
    rows(mysql_empty_database, "ANALYZE TABLE users, sessions")
    done = run(mysql_empty_database, "migrate", "up", "--big-table", "1")
    assert "adopted 3 users" in done.output, done.output
    assert_adopted(mysql_empty_database, everybody)


@pytest.mark.long
@pytest.mark.parametrize("make", [better_auth, source])
def test_two_who_adopt_at_once_adopt_once(mysql_empty_database: MySQLDatabase, make: Make) -> None:
    """A rollout that starts the command twice ends well twice, and everybody is there once."""
    everybody = make(mysql_empty_database)
    environment = {**os.environ, "SECRET_KEYS": SECRET_KEYS, **mysql_empty_database.environment()}
    command = [sys.executable, "-m", "users_service", "migrate", "up"]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert "".join(told).count("adopted 3 users") == 1
    assert_adopted(mysql_empty_database, everybody)


def test_rows_of_our_own_are_not_mixed_with_others(mysql_empty_database: MySQLDatabase) -> None:
    """A database of ours whose revisions are recorded no more takes nobody in."""
    run(mysql_empty_database, "migrate", "up", "0001")
    rows(mysql_empty_database, "DELETE FROM alembic_version")
    user = "INSERT INTO users (id, email, email_normalized) VALUES ('user_1', 'a@example.com', 'a@example.com')"
    rows(mysql_empty_database, user)
    better_auth(mysql_empty_database)
    told = refused(run(mysql_empty_database, "migrate", "up"))
    assert "the table users " in told
    assert "beside tables of Better Auth" in told


@pytest.mark.long
def test_a_half_done_run_of_another_is_told_apart(mysql_empty_database: MySQLDatabase) -> None:
    """Tables of Better Auth without its users are none to adopt; our own half-done schema beside them goes on."""
    better_auth(mysql_empty_database)
    for name in ("account", "session"):
        rows(mysql_empty_database, f"ALTER TABLE {name} DROP FOREIGN KEY {name}_ibfk_1")
    rows(mysql_empty_database, "DROP TABLE user")
    assert "the table account is there already" in refused(run(mysql_empty_database, "migrate", "up"))
    rows(mysql_empty_database, "DROP TABLE account, session, verification")
    with cut(before="TABLE IF NOT EXISTS verifications"):
        assert run(mysql_empty_database, "migrate", "up").exit_code == 1
    better_auth(mysql_empty_database)
    assert "adopted 3 users" in run(mysql_empty_database, "migrate", "up").output


@pytest.mark.long
def test_who_was_adopted_is_not_adopted_again(mysql_empty_database: MySQLDatabase) -> None:
    """Once it is done, rows that the other system writes are no longer looked at, whatever revision is undone."""
    everybody = better_auth(mysql_empty_database)
    run(mysql_empty_database, "migrate", "up")
    gone = everybody[0].id
    for table, column in (("sessions", "user_id"), ("accounts", "user_id"), ("users", "id")):
        rows(mysql_empty_database, f"DELETE FROM {table} WHERE {column} = '{gone}'")
    assert run(mysql_empty_database, "migrate", "down", "0002").exit_code == 0
    assert run(mysql_empty_database, "migrate", "up").exit_code == 0
    assert rows(mysql_empty_database, f"SELECT COUNT(*) FROM users WHERE id = '{gone}'") == [(0,)]
