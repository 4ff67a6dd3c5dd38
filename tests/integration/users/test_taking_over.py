"""`migrate up` on what somebody else made, `migrate down` on rows, and databases newer than the code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import migrations.mysql
from chassis.settings import EXIT_BAD_SETTING
from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.integration.users.adoption.adopting import content, rows
from users_service.cli import main
from users_service.mysql import revisions

Write = Callable[..., str]
USER = "INSERT INTO users (id, email, email_normalized) VALUES ('user_1', 'a@example.com', 'a@example.com')"

KEYS = (
    "SELECT table_name, index_name, column_name, non_unique FROM information_schema.statistics "
    "WHERE table_schema = DATABASE() ORDER BY table_name, index_name, seq_in_index"
)


def run(database: MySQLDatabase, *arguments: str, **environment: str) -> Result:
    """Run `users-service …`."""
    return CliRunner().invoke(main, arguments, env={**database.environment(), **environment})


def line(result: Result) -> str:
    """Return the one line with which a command failed."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) == 1, result.output
    return result.output


@pytest.fixture
def revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Write a revision that follows the last one; return its number."""
    copy = tmp_path / "mysql"
    shutil.copytree(migrations.mysql.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations.mysql, "__path__", [str(copy)])

    def write(*upgrade: str, downgrade: str = "pass") -> str:
        last = len(list((copy / "versions").glob("0*.py")))
        number = f"{last + 1:04}"
        names = f"revision = '{number}'\ndown_revision = '{last:04}'\n"
        functions = f"def upgrade():\n    {(chr(10) + '    ').join(upgrade)}\n\ndef downgrade():\n    {downgrade}\n"
        text = f'"""Next."""\nfrom alembic import op\n{names}{functions}'
        (copy / "versions" / f"{number}_next.py").write_text(text)
        return number

    return write


# Tables of somebody else


@pytest.mark.parametrize(
    ("made", "named", "first"),
    [
        (["CREATE TABLE users (id INT PRIMARY KEY, login VARCHAR(20))"], "users", "email"),
        (["CREATE TABLE attempt_counters (id INT PRIMARY KEY)"], "attempt_counters", "scope"),
        (["CREATE TABLE session (id INT PRIMARY KEY)"], "session", "sessions"),
    ],
    ids=["users", "the last table", "the singular"],
)
def test_tables_of_another_application_are_refused(
    mysql_empty_database: MySQLDatabase, mysql_server: MySQLServer, made: list[str], named: str, first: str
) -> None:
    """One line names table and column, before anything is changed: not even Alembic's own table is made."""
    run_mysql(mysql_server, made, database=mysql_empty_database.name)
    before = content(mysql_empty_database)
    told = line(run(mysql_empty_database, "migrate", "up"))
    assert f"the table {named} is there already" in told
    assert first in told
    assert content(mysql_empty_database) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("alteration", "column"),
    [
        ("MODIFY name VARCHAR(200)", "name"),
        ("MODIFY email VARCHAR(255) NULL", "email"),
        ("ADD COLUMN nick VARCHAR(10)", "nick"),
        ("MODIFY email VARCHAR(255) CHARACTER SET latin1 NOT NULL", "email"),
    ],
)
def test_a_table_that_differs_in_one_column_is_another_one(
    mysql_empty_database: MySQLDatabase, alteration: str, column: str
) -> None:
    """Types, nullability, character sets and columns are compared with what the server makes of our statement."""
    run(mysql_empty_database, "migrate", "up", "0001")
    rows(mysql_empty_database, "DELETE FROM alembic_version")
    rows(mysql_empty_database, f"ALTER TABLE users {alteration}")
    told = line(run(mysql_empty_database, "migrate", "up"))
    assert "the table users is there already" in told
    assert f"column {column} " in told


def test_a_later_revision_does_not_take_a_foreign_table_for_its_own(
    mysql_database: MySQLDatabase, revision: Write
) -> None:
    """IF NOT EXISTS passes over what is there; a revision is recorded only if that is what it would have made."""
    notes = "notes (id INT NOT NULL, note VARCHAR(20) DEFAULT ',)', PRIMARY KEY (id))"
    statement = f"CREATE TABLE IF NOT EXISTS {notes}"
    number = revision(f"op.execute({statement!r})", downgrade='op.execute("DROP TABLE notes")')
    rows(mysql_database, f"CREATE TABLE {notes.replace('INT', 'BIGINT')}")
    assert "the table notes" in line(run(mysql_database, "migrate", "up"))
    rows(mysql_database, "ALTER TABLE notes MODIFY id INT NOT NULL")
    assert run(mysql_database, "migrate", "up").output == f"{number} applied\n"


# Newer than the code


@pytest.mark.parametrize("number", ["9999", "ae1027a6acf0"])
def test_a_database_newer_than_the_code_is_left_alone(mysql_database: MySQLDatabase, number: str) -> None:
    """`up` does nothing and succeeds, as a rollback's job must; `down` names what it does not know; `status` tells."""
    rows(mysql_database, f"UPDATE alembic_version SET version_num = '{number}'")
    up = run(mysql_database, "migrate", "up")
    assert (up.exit_code, up.output) == (
        0,
        f"revision {number} of the database is newer than this version: nothing to do\n",
    )
    for target in ([], ["base"], ["0001"]):
        assert number in line(run(mysql_database, "migrate", "down", *target))
    listed = run(mysql_database, "migrate", "status")
    assert listed.output.splitlines()[-1] == f"{number}  unknown  newer than this version"
    status = run(mysql_database, "status")
    assert status.exit_code == 0, status.output
    assert f"newer than this version: {number}" in status.output
    assert rows(mysql_database, "SELECT version_num FROM alembic_version") == [(number,)]


def test_a_newer_database_that_lacks_what_this_version_needs_is_told(mysql_database: MySQLDatabase) -> None:
    """A rollback to a version that could not serve fails where it can still be seen."""
    rows(mysql_database, "UPDATE alembic_version SET version_num = '9999'")
    rows(mysql_database, "ALTER TABLE users DROP COLUMN image")
    assert "column users.image" in line(run(mysql_database, "migrate", "up"))


# What has gone since


def test_what_was_lost_since_is_restored(mysql_database: MySQLDatabase) -> None:
    """Keys, plain indexes, foreign keys, columns and tables come back, in the form that they had, and are told."""
    before = rows(mysql_database, KEYS)
    rows(mysql_database, "ALTER TABLE users DROP KEY uniq_email_normalized, DROP KEY idx_email")
    rows(mysql_database, "ALTER TABLE sessions DROP KEY idx_expires_at, DROP FOREIGN KEY fk_sessions_user")
    rows(mysql_database, "ALTER TABLE accounts DROP COLUMN scope")
    rows(mysql_database, "DROP TABLE attempt_counters")
    done = run(mysql_database, "migrate", "up")
    assert done.exit_code == 0, done.output
    for what in (
        "table attempt_counters",
        "key users.uniq_email_normalized",
        "key users.idx_email",
        "key sessions.idx_expires_at",
        "foreign key sessions.fk_sessions_user",
        "column accounts.scope",
    ):
        assert f"restored {what}\n" in done.output
    assert before == rows(mysql_database, KEYS)
    assert run(mysql_database, "migrate", "up").output == "nothing to do\n"


def test_what_cannot_be_made_up_is_told(mysql_database: MySQLDatabase) -> None:
    """A column without default held what nobody knows any more."""
    rows(mysql_database, "ALTER TABLE verifications DROP COLUMN purpose, DROP KEY uniq_purpose_identifier_kind_user")
    rows(mysql_database, "ALTER TABLE users DROP KEY idx_email_verified")
    assert "verifications.purpose" in line(run(mysql_database, "migrate", "up"))
    assert rows(mysql_database, "SHOW INDEX FROM users WHERE Key_name = 'idx_email_verified'") == []


def test_a_key_that_rows_are_in_the_way_of_is_told_without_them(mysql_database: MySQLDatabase) -> None:
    """The server's words for duplicates quote a row."""
    rows(mysql_database, "ALTER TABLE users DROP KEY uniq_email_normalized")
    values = "('1', 'x@example.com', 'hunter2'), ('2', 'X@example.com', 'hunter2')"
    rows(mysql_database, f"INSERT INTO users (id, email, email_normalized) VALUES {values}")
    told = line(run(mysql_database, "migrate", "up"))
    assert "key users.uniq_email_normalized" in told
    assert "1062" in told
    assert "hunter2" not in told


# Taking revisions back


@pytest.mark.parametrize("target", [[], pytest.param(["base"], marks=pytest.mark.long)])
def test_down_drops_no_rows_unasked(mysql_database: MySQLDatabase, target: list[str]) -> None:
    """Refused before the first table goes, and named; done where somebody says so."""
    rows(mysql_database, USER)
    undone = "".join(f"{number} undone\n" for number in reversed(revisions.numbers()))
    if not target:
        # Only the last revision goes, and the first one made the tables.
        run(mysql_database, "migrate", "down", "0001")
        undone = "0001 undone\n"
    before = content(mysql_database)
    told = line(run(mysql_database, "migrate", "down", *target))
    assert "users" in told
    assert "--drop-data" in told
    assert content(mysql_database) == before
    done = run(mysql_database, "migrate", "down", *target, "--drop-data")
    assert (done.exit_code, done.output) == (0, undone)


@pytest.mark.parametrize(
    "downgrade",
    [
        pytest.param('op.drop_table("notes")', marks=pytest.mark.long),
        'op.execute("/* all of it */ DROP TABLE IF EXISTS `notes`;")',
        pytest.param('op.execute("TRUNCATE notes"); op.execute("DROP TABLE notes")', marks=pytest.mark.long),
        'op.get_bind().exec_driver_sql("DROP TABLE notes")',
    ],
)
def test_every_revision_that_drops_rows_is_refused(
    mysql_database: MySQLDatabase, revision: Write, downgrade: str
) -> None:
    """The rule is derived from what a revision does, not from a list of names."""
    number = revision('op.execute("CREATE TABLE notes (id INT PRIMARY KEY)")', downgrade=downgrade)
    run(mysql_database, "migrate", "up")
    rows(mysql_database, "INSERT INTO notes VALUES (1)")
    assert "notes" in line(run(mysql_database, "migrate", "down"))
    assert rows(mysql_database, "SELECT COUNT(*) FROM notes") == [(1,)]
    assert run(mysql_database, "migrate", "down", "--drop-data").output == f"{number} undone\n"


# Errors


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "for _ in 'ab': op.execute(\"INSERT INTO users (id, email, email_normalized) VALUES ('hunter2', '', '')\")",
            "error 1062",
        ),
        ("op.execute(\"SELECT 'hunter2' FROM nowhere\")", "nowhere' doesn't exist"),
        ("op.execute(\"SELEC 'hunter2'\")", "error 1064"),
        ('op.drop_column("users", "nothing")', "error 1091"),
        ('raise ValueError("hunter2")', "ValueError"),
        ("sa.Column('hunter2')", "name 'sa' is not defined"),
    ],
)
def test_a_revision_that_fails_is_one_line_with_its_place(
    mysql_server: MySQLServer, mysql_database: MySQLDatabase, revision: Write, statement: str, says: str
) -> None:
    """Which revision, which line of its file, and what was wrong: no traceback, no statement, no value."""
    number = revision("pass", statement)
    told = line(run(mysql_database, "migrate", "up"))
    assert f"revision {number} failed at {number}_next.py, line 7: " in told
    # What a vtgate refuses by itself, it tells by a number of its own.
    is_refused_before = mysql_server.keyspaces and "SELEC" in statement
    assert ("error 1105" if is_refused_before else says) in told
    assert "hunter2" not in told
    assert f"{number}  missing" in run(mysql_database, "migrate", "status").output


def test_a_revision_that_cannot_be_read_is_named(mysql_database: MySQLDatabase, revision: Write) -> None:
    """By its file and line, whatever the command."""
    number = revision("this is no Python")
    for command in ("up", "down", "status"):
        told = line(run(mysql_database, "migrate", command))
        assert f"{number}_next.py, line 6: SyntaxError" in told


COMMANDS = [
    ["migrate", "up"],
    ["migrate", "down"],
    ["migrate", "status"],
    ["purge"],
    ["revoke-sessions", "--everyone"],
    ["explain"],
    ["status"],
]


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"MYSQL_PORT": "1"}, 1),
        ({"MYSQL_PASSWORD": "wrong"}, 1),
        ({"MYSQL_TLS": "verify", "MYSQL_TLS_CA_FILE": "/nowhere/ca.pem"}, EXIT_BAD_SETTING),
    ],
    ids=["away", "wrong password", "no such file"],
)
def test_no_command_ends_in_a_traceback(mysql_database: MySQLDatabase, environment: dict[str, str], code: int) -> None:
    """An exit code and no traceback, whatever the command; one line beside those of the log."""
    settings = {"MYSQL_HOST": "127.0.0.1", **environment}
    for command in COMMANDS:
        done = run(mysql_database, *command, **settings)
        assert done.exit_code == code, (command, done.output)
        assert isinstance(done.exception, SystemExit), (command, done.exception)
        lines = [each for each in done.output.splitlines() if "[warning" not in each]
        assert len(lines) == 1 or command == ["status"], (command, done.output)
        assert "Traceback" not in done.output


def test_an_account_without_rights_is_told_so(mysql_database: MySQLDatabase, mysql_server: MySQLServer) -> None:
    """The server's number and words, in one line."""
    name = f"reader_{mysql_database.name[-12:]}"
    grant = f"GRANT SELECT ON `{mysql_database.name}`.* TO '{name}'@'%' IDENTIFIED BY 'secret'"
    mysql8 = [f"CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'", grant.partition(" IDENTIFIED")[0]]
    run_mysql(mysql_server, mysql8)
    try:
        rows(mysql_database, "ALTER TABLE users DROP KEY idx_email_verified")
        told = line(run(mysql_database, "migrate", "up", MYSQL_USER=name, MYSQL_PASSWORD="secret"))
        assert "error 1142" in told
        assert "secret" not in told
    finally:
        run_mysql(mysql_server, [f"DROP USER '{name}'@'%'"])


# What `migrate new` writes


@pytest.mark.parametrize("body", ["op.create_index(", "backfill("])
def test_the_documents_examples_run_as_they_stand(mysql_database: MySQLDatabase, revision: Write, body: str) -> None:
    """A file of `migrate new` with the bodies of docs/migrations.md goes up and down."""
    assert revision is not None
    written = Path(run(mysql_database, "migrate", "new", "Index names").output.strip())
    if body == "backfill(":
        up = "    backfill(op.get_bind(), 'users', 'name = email', 'name IS NULL')\n"
        written.write_text(written.read_text().replace("    pass\n", up, 1))
    else:
        head, _, _ = written.read_text().partition("def upgrade(")
        written.write_text(head + example("def upgrade("))
    rows(mysql_database, USER)
    number = written.name[:4]
    assert run(mysql_database, "migrate", "up").output == f"{number} applied\n"
    assert run(mysql_database, "migrate", "down").output == f"{number} undone\n"


def example(begins: str) -> str:
    """Return the block of docs/migrations.md that begins so."""
    text = (ROOT / "docs" / "migrations.md").read_text()
    block: str = next(part for part in text.split("```") if part.removeprefix("python\n").startswith(begins))
    return block.removeprefix("python\n")
