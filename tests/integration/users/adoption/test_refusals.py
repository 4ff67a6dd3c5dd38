"""What cannot be adopted stops `migrate up` before anything is changed, in one line that says what is in the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chassis.settings import EXIT_BAD_SETTING
from tests.harness.databases import MySQLDatabase
from tests.integration.users.adoption.adopting import Person, better_auth, content, refused, rows, run
from tests.integration.users.adoption.source import source

Make = Callable[[MySQLDatabase], list[Person]]
DEAR = "$2b$20$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
LONG = "REPEAT('x', 256)"
DOUBLED = "INSERT INTO account SELECT 'second', accountId, providerId, {}, accessToken, refreshToken, idToken, "
DOUBLED += "accessTokenExpiresAt, refreshTokenExpiresAt, scope, password, createdAt, updatedAt FROM account "

# Of Better Auth's tables: what is done to them, and what the line says of it.
IN_THE_WAY = {
    "two addresses that are one": (
        [
            "ALTER TABLE user MODIFY email VARCHAR(255) COLLATE utf8mb4_bin NOT NULL",
            "UPDATE user SET email = 'BEN@example.com' WHERE email LIKE 'cleo%'",
        ],
        ("the table user ", "column email", "two addresses are one", "1ltA0fIGN07iYItLJleAWxqwfspb4JQG"),
    ),
    "an address that is none": (
        ["UPDATE user SET email = 'ben@exämple.com' WHERE email LIKE 'ben%'"],
        ("the table user ", "column email", "no address", "1 row, id 1ltA"),
    ),
    "a long address": (
        ["UPDATE user SET email = CONCAT(REPEAT('x', 243), '@example.com') WHERE email LIKE 'ben%'"],
        ("the table user ", "column email", "longer than 254 characters"),
    ),
    "a text that does not fit": (
        [f"UPDATE user SET image = {LONG}"],
        ("the table user ", "column image", "longer than 255 characters", "3 rows"),
    ),
    "a scope that does not fit": (
        ["UPDATE account SET scope = REPEAT('x', 2049) WHERE providerId = 'google'"],
        ("the table account ", "column scope", "longer than 2,048 characters"),
    ),
    "a token that does not fit": (
        ["UPDATE account SET accessToken = REPEAT('x', 49001) WHERE providerId = 'google'"],
        ("the table account ", "column accessToken", "longer than 49,000 bytes"),
    ),
    "a token that Better Auth encrypted": (
        ["UPDATE account SET refreshToken = '$ba$1$00ff' WHERE providerId = 'google'"],
        ("the table account ", "column refreshToken", "encrypted by Better Auth"),
    ),
    "a token that an older Better Auth encrypted": (
        ["UPDATE account SET refreshToken = REPEAT('0f', 60) WHERE providerId = 'google'"],
        ("the table account ", "column refreshToken", "encrypted by Better Auth"),
    ),
    "a hash of an unknown form": (
        ["UPDATE account SET password = '$1$abcdefgh$irWbblnpmw.5z7wgBnprh0' WHERE password IS NOT NULL"],
        ("the table account ", "column password", "no password hash", "2 rows"),
    ),
    "a hash that costs too much": (
        [f"UPDATE account SET password = '{DEAR}' WHERE password IS NOT NULL"],
        ("the table account ", "column password", "beyond the limits"),
    ),
    "one account of two users": (
        [DOUBLED.format("'1ltA0fIGN07iYItLJleAWxqwfspb4JQG'") + "WHERE providerId = 'google'"],
        ("the table account ", "column accountId", "two rows are one account", "second"),
    ),
    "two passwords of a user": (
        [DOUBLED.format("userId") + "WHERE userId = '1ltA0fIGN07iYItLJleAWxqwfspb4JQG'"],
        ("the table account ", "column accountId", "two rows are one account"),
    ),
    "an id that ends in a space": (
        ["INSERT INTO user (id, name, email, emailVerified) VALUES ('an id ', '', 'dan@example.com', 0)"],
        ("the table user ", "column id", "ends in a space"),
    ),
    "a time that MySQL's TIMESTAMP does not hold": (
        ["ALTER TABLE user MODIFY createdAt DATETIME(3)", "UPDATE user SET createdAt = '1969-01-01'"],
        ("the table user ", "column createdAt", "not between"),
    ),
    "an empty token": (
        ["UPDATE session SET token = '' LIMIT 1"],
        ("the table session ", "column token", "empty (1 row)"),
    ),
    "two sessions of one token": (
        ["ALTER TABLE session DROP KEY token", "UPDATE session SET token = 'one'"],
        ("the table session ", "column token", "two sessions have one token"),
    ),
    "a second factor": (
        ["ALTER TABLE user ADD COLUMN twoFactorEnabled BOOL", "UPDATE user SET twoFactorEnabled = 1 LIMIT 1"],
        ("the table user ", "column twoFactorEnabled", "second factor"),
    ),
    "a key in the way": (
        [
            "CREATE TABLE teams (id VARCHAR(36) PRIMARY KEY)",
            "ALTER TABLE teams ADD CONSTRAINT fk_accounts_user FOREIGN KEY (id) REFERENCES user (id)",
        ],
        ("the table teams ", "key fk_accounts_user", "give it another"),
    ),
    "a column that is missing": (
        ["ALTER TABLE session DROP COLUMN expiresAt"],
        ("the table session ", "no column expiresAt"),
    ),
    "another program's table": (
        ["CREATE TABLE outbox (id INT PRIMARY KEY)"],
        ("the table outbox ", "no column kind"),
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("done", "says"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_cannot_be_adopted_is_named(
    mysql_empty_database: MySQLDatabase, done: list[str], says: tuple[str, ...]
) -> None:
    """One line with table, column and reason, and what was there is as it was: nothing is made beside it, either."""
    better_auth(mysql_empty_database)
    for statement in done:
        rows(mysql_empty_database, statement)
    before = content(mysql_empty_database)
    told = refused(run(mysql_empty_database, "migrate", "up"))
    for part in says:
        assert part in told
    # Of people, tokens and hashes nothing is shown.
    for secret in ("example.com", "token-of", "$1$abc"):
        assert secret not in told
    assert content(mysql_empty_database) == before


# Of the source's tables.
OF_THE_SOURCE = {
    "two addresses that are one": (
        ["UPDATE users SET email = 'BEN@example.com' WHERE id = 'user_3'"],
        ("the table users ", "column email", "two addresses are one"),
    ),
    "a hash of an unknown form": (
        ["UPDATE users SET password_hash = 'plain' WHERE id = 'user_1'"],
        ("the table users ", "column password_hash", "1 row, id user_1"),
    ),
    "a key in the way": (
        ["ALTER TABLE sessions ADD CONSTRAINT fk_sessions_user FOREIGN KEY (user_id) REFERENCES users (id)"],
        ("the table sessions ", "key fk_sessions_user"),
    ),
    "the name that a table would get": (
        ["CREATE TABLE adopted_users (id INT PRIMARY KEY)"],
        ("the table adopted_users ",),
    ),
    "a table of another form": (
        ["ALTER TABLE accounts DROP COLUMN id_token"],
        ("the table accounts ", "no column id_token"),
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("done", "says"), OF_THE_SOURCE.values(), ids=OF_THE_SOURCE)
def test_what_is_in_the_way_of_the_source_is_named(
    mysql_empty_database: MySQLDatabase, done: list[str], says: tuple[str, ...]
) -> None:
    """So it is with the tables that bear our own names: none is renamed."""
    source(mysql_empty_database)
    for statement in done:
        rows(mysql_empty_database, statement)
    before = content(mysql_empty_database)
    told = refused(run(mysql_empty_database, "migrate", "up"))
    for part in says:
        assert part in told
    assert content(mysql_empty_database) == before


def test_the_databases_of_two_systems_are_not_mixed(mysql_empty_database: MySQLDatabase) -> None:
    """Users of two systems in one database are nobody's to merge."""
    source(mysql_empty_database)
    better_auth(mysql_empty_database)
    before = content(mysql_empty_database)
    assert "only one can be adopted" in refused(run(mysql_empty_database, "migrate", "up"))
    assert content(mysql_empty_database) == before


@pytest.mark.parametrize("make", [better_auth, source])
def test_keys_are_asked_for_first(mysql_empty_database: MySQLDatabase, make: Make) -> None:
    """Without SECRET_KEYS nothing is begun, and one line names the setting; no other database needs it."""
    make(mysql_empty_database)
    before = content(mysql_empty_database)
    done = run(mysql_empty_database, "migrate", "up", SECRET_KEYS="")
    assert done.exit_code == EXIT_BAD_SETTING
    assert done.output.startswith("wrong setting: SECRET_KEYS is missing")
    assert len(done.output.splitlines()) == 1
    assert content(mysql_empty_database) == before


def test_what_lets_nobody_in_is_left_and_told(mysql_empty_database: MySQLDatabase) -> None:
    """Expired sessions, those in which an administrator acts, and rows of users who are gone stop nothing."""
    everybody = better_auth(mysql_empty_database)
    for statement in (
        "ALTER TABLE session ADD COLUMN impersonatedBy TEXT, DROP FOREIGN KEY session_ibfk_1",
        "ALTER TABLE account DROP FOREIGN KEY account_ibfk_1",
        f"UPDATE session SET impersonatedBy = 'somebody' WHERE token = '{everybody[1].tokens[0]}'",
        f"UPDATE session SET expiresAt = NOW() - INTERVAL 1 DAY WHERE token = '{everybody[1].tokens[1]}'",
        f"UPDATE session SET userId = 'nobody' WHERE token = '{everybody[0].tokens[0]}'",
        f"UPDATE account SET userId = 'nobody' WHERE userId = '{everybody[0].id}'",
    ):
        rows(mysql_empty_database, statement)
    done = run(mysql_empty_database, "migrate", "up")
    assert "adopted 3 users, 1 sessions, 2 accounts (left: 3 sessions, 1 accounts); " in done.output, done.output
