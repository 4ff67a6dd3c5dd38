"""Migrations on a big table: what would lock it is refused before it begins; what the server does online passes."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import migrations.mysql
from migrations.mysql import backfill
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, in_own_thread, run_mysql
from tests.harness.statements import query
from users_service.cli import main
from users_service.mysql import revisions

ROWS = 2_000
# Of the index that is added while others write.
BUILDS = 8
DIGITS = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"  # noqa: E501
Write = Callable[..., None]
# The number of the revision that a test writes.
NEXT = f"{int(revisions.numbers()[-1]) + 1:04}"


def fill(server: MySQLServer, database: MySQLDatabase, rows: int) -> None:
    """Store so many users, and let the server count them."""
    number = "a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d"
    tables = ", ".join(f"{DIGITS} {name}" for name in "abcef")
    numbers = f"SELECT {number} AS n FROM {tables} WHERE {number} < {rows}"
    columns = "CONCAT('user_', LPAD(n, 8, '0')), CONCAT('U', n, '@example.com'), CONCAT('u', n, '@example.com')"
    insert = f"INSERT INTO users (id, email, email_normalized, name) SELECT {columns}, CONCAT('Name ', n % 977) "
    run_mysql(server, [f"{insert} FROM ({numbers}) AS numbers", "ANALYZE TABLE users"], database=database.name)


@pytest.fixture(scope="module")
def filled(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A database with the migrated schema and some users."""
    with migrated_mysql(test_run, mysql_server) as database:
        fill(mysql_server, database, ROWS)
        yield database


@pytest.fixture
def revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Write a revision that follows the last one and carries out the lines given."""
    copy = tmp_path / "mysql"
    shutil.copytree(migrations.mysql.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations.mysql, "__path__", [str(copy)])
    last = len(list((copy / "versions").glob("0*.py")))

    def write(*upgrade: str, downgrade: str = "pass") -> None:
        body = "\n    ".join(upgrade)
        head = "from alembic import op\nfrom migrations.mysql.backfill import backfill\n"
        names = f"revision = '{last + 1:04}'\ndown_revision = '{last:04}'\n"
        functions = f"def upgrade():\n    {body}\n\ndef downgrade():\n    {downgrade}\n"
        (copy / "versions" / f"{last + 1:04}_next.py").write_text(f'"""Next."""\n{head}{names}{functions}')

    return write


def migrate(database: MySQLDatabase, *arguments: str) -> Result:
    """Run `users-service migrate …`."""
    return CliRunner().invoke(main, ["migrate", *arguments], env=database.environment())


def rows(database: MySQLDatabase, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the database and return the rows."""
    return in_own_thread(lambda: query(database, statement))


def content(database: MySQLDatabase) -> list[Any]:
    """Return what a refused revision must leave as it was: definition, and a checksum of the rows."""
    return [rows(database, "SHOW CREATE TABLE users"), rows(database, "CHECKSUM TABLE users")]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("ALTER TABLE users MODIFY revision BIGINT NOT NULL", "ALTER TABLE, which this server cannot do"),
        ("ALTER TABLE users ADD FULLTEXT KEY words (name), LOCK=SHARED -- quickly", "ALTER TABLE"),
        ("ALTER TABLE users ADD COLUMN a INT, ALGORITHM=COPY", "ALTER TABLE"),
        ("alter table `users` partition by key (id) partitions 4", "ALTER TABLE"),
        ("CREATE FULLTEXT INDEX words ON users (name)", "CREATE FULLTEXT"),
        ("UPDATE users SET name = 'all of them'", "UPDATE that reads, and locks, about "),
        ("/* once */ DELETE FROM users WHERE name LIKE '%%9'", "DELETE that reads"),
        ("INSERT INTO outbox (id, kind, payload) SELECT id, 'x', '' FROM users", "INSERT that reads"),
        ("CREATE TABLE copies AS SELECT * FROM users", "CREATE TABLE is not known"),
        ("OPTIMIZE TABLE users", "OPTIMIZE TABLE is not known"),
    ],
)
def test_what_locks_a_big_table_is_refused_and_changes_nothing(
    filled: MySQLDatabase, revision: Write, statement: str, says: str
) -> None:
    """The operator is told in one line which revision, table and kind of statement, and what to do; never its text."""
    revision(f'op.execute("""{statement}""")')
    before = content(filled)
    result = migrate(filled, "up", "--big-table", "1500")
    assert result.exit_code == 1, result.output
    assert len(result.output.splitlines()) == 1
    for part in (f"revision {NEXT}", "users (about ", says, "--allow-locking", "docs/operations.md#"):
        assert part in result.output
    assert "all of them" not in result.output
    assert content(filled) == before
    assert f"{NEXT}  missing" in migrate(filled, "status").output


def test_it_goes_through_when_the_operator_says_so(filled: MySQLDatabase, revision: Write) -> None:
    """Nothing is in the way of --allow-locking, nor, without it, on tables that are not big; down is checked, too."""
    revision(
        'op.execute("ALTER TABLE users MODIFY revision BIGINT NOT NULL DEFAULT 1")',
        downgrade='op.execute("ALTER TABLE users MODIFY revision INTEGER NOT NULL DEFAULT 1")',
    )
    assert migrate(filled, "up", "--big-table", "1500", "--allow-locking").output == f"{NEXT} applied\n"
    refused = migrate(filled, "down", "--big-table", "1500")
    assert refused.exit_code == 1
    assert f"revision {NEXT} is refused on users" in refused.output
    assert migrate(filled, "down").output == f"{NEXT} undone\n"


def test_small_tables_and_online_changes_pass(filled: MySQLDatabase, revision: Write) -> None:
    """Beside the big table others may be locked; the big one takes columns, indexes and batches of rows."""
    revision(
        "import sqlalchemy as sa",
        'op.execute("ALTER TABLE outbox MODIFY attempts BIGINT NOT NULL DEFAULT 0")',
        'op.execute("CREATE TABLE notes (user_id VARCHAR(255) PRIMARY KEY, FOREIGN KEY (user_id) REFERENCES users (id))'
        ' COLLATE utf8mb4_bin")',
        'op.create_index("idx_name", "users", ["name"])',
        'op.drop_index("idx_name", "users")',
        'op.add_column("users", sa.Column("nick", sa.String(255)))',
        'op.execute("ALTER TABLE users ADD COLUMN other INT, ALGORITHM=INSTANT")',
        'op.execute("UPDATE users SET nick = name LIMIT 10")',
        "op.execute(\"UPDATE users SET nick = name WHERE id = 'user_00000001'\")",
        'assert backfill(op.get_bind(), "users", "nick = name, other = 1", "other IS NULL") == 2000',
        'op.drop_column("users", "other")',
        downgrade='op.execute("DROP TABLE notes"); op.drop_column("users", "nick");'
        ' op.execute("ALTER TABLE outbox MODIFY attempts INTEGER NOT NULL DEFAULT 0")',
    )
    done = migrate(filled, "up", "--big-table", "1500")
    assert done.output == f"{NEXT} applied\n"
    assert rows(filled, "SELECT COUNT(*) FROM users WHERE nick = name") == [(ROWS,)]
    assert migrate(filled, "down", "--big-table", "1500").output == f"{NEXT} undone\n"


def test_a_backfill_goes_on_where_it_was_cut_off(
    filled: MySQLDatabase, revision: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead process had done is not done again; every row is reached, whatever the size of the batches."""
    monkeypatch.setattr(backfill, "ROWS", 300)
    rows(filled, "UPDATE users SET image = name WHERE id < 'user_00001000'")
    revision(
        "op.execute(\"UPDATE users SET image = name WHERE id = 'user_00001500'\")",
        'assert backfill(op.get_bind(), "users", "image = name", "image IS NULL") == 999',
        'assert backfill(op.get_bind(), "users", "image = NULL", "image IS NOT NULL") == 2000',
    )
    done = migrate(filled, "up", "--big-table", "1500")
    assert done.output == f"{NEXT} applied\n", done.exception
    assert migrate(filled, "down").output == f"{NEXT} undone\n"


@pytest.mark.long
def test_an_index_is_added_while_others_write(
    mysql_database: MySQLDatabase, mysql_server: MySQLServer, revision: Write, tmp_path: Path
) -> None:
    """While the server builds it, changes of rows begin and end; none waits for its end."""
    fill(mysql_server, mysql_database, 60_000)
    # Several times, since on a busy machine the writer may have no turn while one is built.
    revision(
        "import json, pathlib, time",
        "times = []",
        f"for number in range({BUILDS}):",
        "    began = time.monotonic()",
        '    op.execute("ALTER TABLE users ADD KEY idx_1 (name, email), ADD KEY idx_2 (email, name)")',
        "    times.append((began, time.monotonic()))",
        '    op.execute("ALTER TABLE users DROP KEY idx_1, DROP KEY idx_2")',
        f"pathlib.Path({str(tmp_path / 'times')!r}).write_text(json.dumps(times))",
    )
    writes: list[tuple[float, float]] = []
    done = threading.Event()

    async def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            began = time.monotonic()
            await query(mysql_database, f"UPDATE users SET name = 'x' WHERE id = 'user_{number * 7 % 60_000:08}'")
            writes.append((began, time.monotonic()))
            await asyncio.sleep(0.002)

    writer = threading.Thread(target=lambda: in_own_thread(write))
    writer.start()
    try:
        result = migrate(mysql_database, "up", "--big-table", "1500")
    finally:
        done.set()
        writer.join()
    assert result.output == f"{NEXT} applied\n"
    times = json.loads((tmp_path / "times").read_text())
    assert [True for began, ended in writes for first, last in times if first < began and ended < last]
