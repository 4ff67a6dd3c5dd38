"""What a statement of a migration is, as far as locks go, and how a definition is made to refuse them."""

from __future__ import annotations

import pytest

from users_service.migrations.online import StatementKind, kind_of, without_lock


@pytest.mark.parametrize(
    ("statement", "kind", "table"),
    [
        ("ALTER TABLE users ADD x INT", StatementKind.DEFINITION, "users"),
        (" /* why */ alter table `db`.`Users`\nADD x INT", StatementKind.DEFINITION, "users"),
        ("ALTER TABLE notes ADD FOREIGN KEY (u) REFERENCES users (id)", StatementKind.DEFINITION, "notes"),
        ("CREATE UNIQUE INDEX i ON db.users (a, b)", StatementKind.DEFINITION, "users"),
        ("DROP INDEX `i` ON `users`", StatementKind.DEFINITION, "users"),
        ("UPDATE users SET a = 1", StatementKind.WRITE, ""),
        ("WITH x AS (SELECT 1) DELETE FROM users", StatementKind.WRITE, ""),
        ("WITH x AS (SELECT 1) SELECT * FROM x", StatementKind.HARMLESS, ""),
        ("CREATE TABLE x (id INT, FOREIGN KEY (id) REFERENCES users (id))", StatementKind.HARMLESS, ""),
        ("CREATE TABLE x AS SELECT * FROM users", StatementKind.UNKNOWN, ""),
        ("LOCK TABLES users WRITE", StatementKind.UNKNOWN, ""),
        ("/*!80000 ALTER TABLE users ADD x INT */", StatementKind.UNKNOWN, ""),
    ],
)
def test_kind(statement: str, kind: StatementKind, table: str) -> None:
    """Neither comments, quotes, letters' case nor another table's name mislead; what is not known is not harmless."""
    assert kind_of(statement) == (kind, table)


@pytest.mark.parametrize(
    ("statement", "asked"),
    [
        ("ALTER TABLE users ADD x INT; ", "ALTER TABLE users ADD x INT\n, LOCK=NONE"),
        ("ALTER TABLE users ADD x INT -- soon", "ALTER TABLE users ADD x INT -- soon\n, LOCK=NONE"),
        ("CREATE INDEX i ON users (a)", "CREATE INDEX i ON users (a)\n LOCK=NONE"),
        ("DROP INDEX i ON users", "ALTER TABLE users DROP INDEX i, LOCK=NONE"),
        ("ALTER TABLE users ADD x INT, ALGORITHM=INSTANT", "ALTER TABLE users ADD x INT, ALGORITHM=INSTANT"),
    ],
)
def test_without_lock(statement: str, asked: str) -> None:
    """The clause stands where both servers read it, and where no comment swallows it."""
    assert without_lock(statement) == asked
