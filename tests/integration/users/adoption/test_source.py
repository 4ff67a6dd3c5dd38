"""Adoption of the source's own four tables, whatever their collation."""

from __future__ import annotations

import pytest

from tests.harness.databases import MySQLDatabase
from tests.integration.users.adoption.adopting import assert_adopted, content, rows, run
from tests.integration.users.adoption.source import source

TABLES = ("users", "sessions", "accounts", "verifications")


# By server: that of new databases in MySQL, which MariaDB does not have.
NEWEST = ("utf8mb4_0900_ai_ci", "utf8mb4_unicode_520_ci")


@pytest.mark.parametrize("collation", ["utf8mb4_bin", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "the newest"])
def test_everybody_of_the_source_comes_along(mysql_empty_database: MySQLDatabase, collation: str) -> None:
    """Passwords from either table, sessions by their ids and provider tokens are good, in every collation."""
    if collation == "the newest":
        known = {name for name, *_ in rows(mysql_empty_database, "SHOW COLLATION")}
        collation = next(name for name in NEWEST if name in known)
    everybody = source(mysql_empty_database, collation)
    before = rows(mysql_empty_database, f"CHECKSUM TABLE {', '.join(TABLES)}")
    done = run(mysql_empty_database, "migrate", "up")
    assert done.exit_code == 0, done.output
    assert "adopted 3 users, 4 sessions, 2 accounts (left: 1 sessions); " in done.output
    after = rows(mysql_empty_database, f"CHECKSUM TABLE {', '.join(f'adopted_{name}' for name in TABLES)}")
    assert [sum_ for _, sum_ in after] == [sum_ for _, sum_ in before]
    collations = "SELECT DISTINCT table_collation FROM information_schema.tables WHERE table_schema = DATABASE()"
    theirs = rows(mysql_empty_database, f"{collations} AND table_name IN {TABLES}")
    assert theirs == [("utf8mb4_bin",)]
    assert_adopted(mysql_empty_database, everybody)
    assert run(mysql_empty_database, "migrate", "up").output == "nothing to do\n"


@pytest.mark.long
def test_what_clients_hold_is_no_longer_an_id(mysql_empty_database: MySQLDatabase) -> None:
    """The source's sessions are known by their ids, which lists show; so each gets a new one."""
    source(mysql_empty_database)
    run(mysql_empty_database, "migrate", "up")
    ids = [id_ for (id_,) in rows(mysql_empty_database, "SELECT id FROM sessions")]
    assert len(ids) == 4
    assert all(id_.startswith("sess_") for id_ in ids)


@pytest.mark.long
def test_who_goes_back_finds_everything_as_it_was(mysql_empty_database: MySQLDatabase) -> None:
    """After `migrate down base` the tables have their names back, and can be adopted anew."""
    source(mysql_empty_database)
    before = content(mysql_empty_database)
    run(mysql_empty_database, "migrate", "up")
    done = run(mysql_empty_database, "migrate", "down", "base", "--drop-data")
    assert done.exit_code == 0, done.output
    assert "the table users has its name back\n" in done.output
    rows(mysql_empty_database, "DROP TABLE alembic_version")
    after = content(mysql_empty_database)
    assert {name: sum_ for name, (_, sum_) in after.items()} == {name: sum_ for name, (_, sum_) in before.items()}
    assert "adopted 3 users" in run(mysql_empty_database, "migrate", "up").output


def test_a_source_without_accounts_is_adopted(mysql_empty_database: MySQLDatabase) -> None:
    """Who had no providers, or verified the addresses by a column added later, has just those tables and columns."""
    source(mysql_empty_database)
    rows(mysql_empty_database, "DROP TABLE accounts, verifications")
    rows(mysql_empty_database, "ALTER TABLE users ADD COLUMN email_verified BOOLEAN DEFAULT FALSE")
    rows(mysql_empty_database, "UPDATE users SET email_verified = TRUE WHERE id = 'user_2'")
    done = run(mysql_empty_database, "migrate", "up")
    assert "adopted 3 users, 4 sessions, 0 accounts" in done.output, done.output
    verified = rows(mysql_empty_database, "SELECT id FROM users WHERE email_verified")
    assert verified == [("user_2",)]
