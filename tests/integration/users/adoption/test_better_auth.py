"""Adoption of a database that Better Auth made: from a dump everywhere, and, where Node is, by its npm package."""

from __future__ import annotations

import pytest

from tests.harness import better_auth as npm
from tests.harness.databases import MySQLDatabase
from tests.integration.users.adoption.adopting import assert_adopted, better_auth, content, people, rows, run

TABLES = ("user", "session", "account", "verification")


def test_everybody_of_better_auth_comes_along(mysql_empty_database: MySQLDatabase) -> None:
    """Passwords, open sessions and provider tokens are good here, and Better Auth's own tables are as they were."""
    everybody = better_auth(mysql_empty_database)
    before = content(mysql_empty_database)
    done = run(mysql_empty_database, "migrate", "up")
    assert done.exit_code == 0, done.output
    assert "adopted 3 users, 4 sessions, 3 accounts; " in done.output
    after = content(mysql_empty_database)
    assert {name: after[name] for name in TABLES} == before
    assert_adopted(mysql_empty_database, everybody)
    assert run(mysql_empty_database, "migrate", "up").output == "nothing to do\n"


@pytest.mark.long
def test_who_is_banned_stays_out(mysql_empty_database: MySQLDatabase) -> None:
    """A ban by Better Auth's plugin disables the user, with reason and end, and no session comes along."""
    ada, ben, cleo = better_auth(mysql_empty_database)
    for statement in (
        "ALTER TABLE user ADD COLUMN banned BOOL, ADD COLUMN banReason TEXT, ADD COLUMN banExpires TIMESTAMP(3) NULL",
        f"UPDATE user SET banned = 1, banReason = REPEAT('x', 300) WHERE id = '{ada.id}'",
        f"UPDATE user SET banned = 1, banExpires = NOW() + INTERVAL 1 DAY WHERE id = '{ben.id}'",
        f"UPDATE user SET banned = 1, banExpires = NOW() - INTERVAL 1 DAY WHERE id = '{cleo.id}'",
    ):
        rows(mysql_empty_database, statement)
    done = run(mysql_empty_database, "migrate", "up")
    assert "adopted 3 users, 1 sessions, 3 accounts (left: 3 sessions); " in done.output, done.output
    disabled = "SELECT id, LENGTH(disabled_reason), disabled_until > NOW() FROM users WHERE is_disabled"
    assert sorted(rows(mysql_empty_database, disabled)) == sorted([(ada.id, 255, None), (ben.id, None, 1)])
    assert_adopted(mysql_empty_database, [cleo])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", ["", "admin", "serial"])
def test_better_auth_itself(mysql_empty_database: MySQLDatabase, variant: str) -> None:
    """So it is with what the npm package makes now, by its own migrations, whatever the dump says."""
    npm.installed()
    made = npm.make(mysql_empty_database, variant)
    done = run(mysql_empty_database, "migrate", "up")
    sessions = "2 sessions, 3 accounts (left: 2 sessions)" if variant == "admin" else "4 sessions, 3 accounts"
    assert f"adopted 3 users, {sessions}; " in done.output, done.output
    everybody = people(made["people"])
    if variant == "admin":
        assert rows(mysql_empty_database, "SELECT id, disabled_reason FROM users WHERE is_disabled") == [
            (everybody[1].id, "spam")
        ]
        del everybody[1]
    assert_adopted(mysql_empty_database, everybody)
