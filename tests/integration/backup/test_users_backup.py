"""`users-service backup` and `restore` on a real server: what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from shutil import copy

import pytest

from chassis.backup import writing
from chassis.backup.errors import BackupFailed
from chassis.backup.manifest import Source
from chassis.backup.reading import Archive
from chassis.clock import utc_now
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.harness.proxy import proxy_to
from tests.harness.statements import holding
from tests.harness.users import settings_for
from tests.integration.backup.commands import at_once, mysql_content, notifications, one_line, rows, succeeded, users
from tests.integration.backup.cut import cut_after
from users_service.backup.backup import PART, SERVICE
from users_service.backup.connection import connected
from users_service.backup.dump import dump
from users_service.backup.snapshot import lock_against_writes, open_snapshot
from users_service.mysql import locks

# What text and bytes can do to SQL that quotes them badly, and rows enough to be in the middle of something.
AWKWARD = r"""
INSERT INTO users (id, email, email_normalized, name, password_hash) VALUES
  ('u1', 'a@b.c', 'a@b.c', 'O\\''Brien\n;\r\n\t\\ \\n); -- \0\Z 😀 %s', NULL), ('u2', 'b@b.c', 'b@b.c', '', ');')|
INSERT INTO sessions (id, user_id, token_hash, revoked_at) VALUES
  ('s1', 'u1', REPEAT(X'00', 32), NULL), ('s2', 'u2', REPEAT(X'0A', 32), '2001-02-03 04:05:06.000007')|
INSERT INTO idempotency_keys (method, request_id, fingerprint, response) VALUES
  ('m', '1', REPEAT(X'FF', 32), ''), ('m', '2', REPEAT(X'27', 32), NULL),
  ('m', '3', REPEAT(X'5C', 32), X'0D0A273B')|
INSERT INTO users (id, email, email_normalized, name)
  SELECT CONCAT('n', n), CONCAT(n, '@n.c'), CONCAT(n, '@n.c'), REPEAT('x', 250) FROM
  (WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 900)
   SELECT n FROM counter) AS numbers
"""
USERS = 902
MIDDLE = 100_000


def fill(database: MySQLDatabase) -> MySQLDatabase:
    """Store rows that are hard to write down."""
    for statement in AWKWARD.split("|"):
        rows(database, statement)
    return database


@pytest.fixture(scope="module")
def filled(mysql_module_database: MySQLDatabase) -> MySQLDatabase:
    """A database with such rows, which no test changes."""
    return fill(mysql_module_database)


@pytest.fixture
def changed(mysql_database: MySQLDatabase) -> MySQLDatabase:
    """A database with such rows that the test changes."""
    return fill(mysql_database)


@pytest.fixture(scope="module")
def taken(filled: MySQLDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the one that no test changes."""
    path = tmp_path_factory.mktemp("taken") / "users.backup"
    succeeded(users(filled, "backup", path))
    return path


@pytest.fixture
def backup(taken: Path, tmp_path: Path) -> Path:
    """The test's own copy of the backup."""
    return Path(copy(taken, tmp_path))


def test_everything_comes_back(filled: MySQLDatabase, backup: Path, mysql_empty_database: MySQLDatabase) -> None:
    """Definitions, rows and bytes are the same after a restore, and nothing marks the database as unfinished."""
    result = users(mysql_empty_database, "restore", backup)
    assert result.exit_code == 0, result.output
    assert mysql_content(mysql_empty_database) == mysql_content(filled)


def test_the_manifest_says_what_the_file_holds(filled: MySQLDatabase, backup: Path) -> None:
    """Counts, the schema's revision and the server are in the manifest, and only the owner may read the file."""
    manifest = Archive(backup).manifest
    assert (manifest.counts["users"], manifest.counts["sessions"]) == (USERS, 2)
    assert manifest.schema_revision == rows(filled, "SELECT version_num FROM alembic_version")[0][0]
    assert rows(filled, "SELECT VERSION()")[0][0] in manifest.server
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_file_is_never_replaced_unasked(filled: MySQLDatabase, backup: Path) -> None:
    """A second backup to the same name is refused and the first stays, until --overwrite is said."""
    before = backup.read_bytes()
    assert "--overwrite" in one_line(users(filled, "backup", backup))
    assert backup.read_bytes() == before
    assert users(filled, "backup", backup, "--overwrite").exit_code == 0
    assert backup.read_bytes() != before


def test_a_database_that_is_not_empty_is_refused(filled: MySQLDatabase, backup: Path) -> None:
    """A restore never mixes with what is there, nor does a dry run say that it would."""
    before = mysql_content(filled)
    for option in ((), ("--dry-run",), ("--start-over",)):
        assert "is not empty" in one_line(users(filled, "restore", backup, *option))
    assert mysql_content(filled) == before


@pytest.mark.long
def test_a_dry_run_changes_nothing(backup: Path, mysql_empty_database: MySQLDatabase) -> None:
    """Checking a backup against its target leaves the target empty."""
    assert users(mysql_empty_database, "restore", backup, "--dry-run").exit_code == 0
    assert mysql_content(mysql_empty_database) == {}


def test_a_newer_schema_is_refused(changed: MySQLDatabase, tmp_path: Path, mysql_empty_database: MySQLDatabase) -> None:
    """A backup by a newer version is not restored by one that does not know its schema; the version to use is named."""
    rows(changed, "UPDATE alembic_version SET version_num = '9999'")
    path = tmp_path / "newer.backup"
    assert users(changed, "backup", path).exit_code == 0
    line = one_line(users(mysql_empty_database, "restore", path))
    assert "schema 9999" in line
    assert Archive(path).manifest.service_version in line
    assert mysql_content(mysql_empty_database) == {}


def test_a_database_without_a_schema_is_not_backed_up(mysql_empty_database: MySQLDatabase, tmp_path: Path) -> None:
    """A wrong MYSQL_DATABASE gives no empty backup that looks like a good one."""
    assert "no schema" in one_line(users(mysql_empty_database, "backup", tmp_path / "x.backup"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_what_a_backup_leaves_out_is_said(changed: MySQLDatabase, mysql_server: MySQLServer, tmp_path: Path) -> None:
    """Views, triggers and routines that somebody added are named in one line, and a database without has none."""
    assert users(changed, "backup", tmp_path / "without.backup").stderr == ""
    added = [
        "CREATE VIEW names AS SELECT name FROM users",
        "CREATE TRIGGER named BEFORE INSERT ON users FOR EACH ROW SET NEW.name = TRIM(NEW.name)",
        "CREATE PROCEDURE one() SELECT 1",
    ]
    run_mysql(mysql_server, added, database=changed.name)
    result = users(changed, "backup", tmp_path / "with.backup")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"not in the backup: views (1), triggers (1), routines (1) of {changed.name}\n"


@pytest.mark.long
def test_a_backup_gives_up_behind_a_long_transaction(filled: MySQLDatabase) -> None:
    """The lock for the log's position does not hold every writer up behind a transaction that does not end."""
    with (
        holding(filled, "UPDATE users SET name = 'x' WHERE id = %s", ("u1",)),
        pytest.raises(BackupFailed, match="not ended within 1 s"),
    ):
        asyncio.run(_lock(filled, seconds=1))
    asyncio.run(_lock(filled, seconds=1))


async def _lock(database: MySQLDatabase, seconds: int) -> None:
    async with connected(settings_for(database)) as connection:
        await lock_against_writes(connection, ("sessions", "users"), seconds=seconds)


def test_migrations_and_backups_keep_apart(filled: MySQLDatabase, tmp_path: Path) -> None:
    """While a migration holds its lock there is no backup, which might be half of one schema and half of another."""
    with holding(filled, "SELECT GET_LOCK(%s, 0)", (locks.lock_name("migrate", filled.name),)):
        assert "migrating" in one_line(at_once(filled, "backup", tmp_path / "x.backup"))


def test_what_came_back_is_compared(filled: MySQLDatabase, tmp_path: Path, mysql_empty_database: MySQLDatabase) -> None:
    """A restore that does not bring what the manifest counts fails after it, and leaves the database marked."""
    path = tmp_path / "short.backup"
    asyncio.run(_back_up_with_counts(filled, path, users=USERS + 1))
    line = one_line(users(mysql_empty_database, "restore", path))
    assert f"users has {USERS} rows, and had {USERS + 1}" in line
    assert "restore_unfinished" in mysql_content(mysql_empty_database)
    assert users(mysql_empty_database, "restore", path, "--start-over", "--no-verify").exit_code == 0


@pytest.mark.long
def test_values_of_every_type_are_the_same_to_the_comparison(
    changed: MySQLDatabase, tmp_path: Path, mysql_empty_database: MySQLDatabase
) -> None:
    """A table that somebody added, with types and character sets that the service has not, is no false alarm."""
    rows(
        changed,
        "CREATE TABLE added (a FLOAT, b DOUBLE, c DECIMAL(30, 10), d BIT(9), e YEAR, f DATE, g TIME(3),"
        " h ENUM('x', 'ß'), i SET('p', 'q'), j TEXT CHARACTER SET latin1, k VARCHAR(9) CHARACTER SET utf16, l JSON,"
        " m LONGBLOB, n BIGINT UNSIGNED, o CHAR(5), p DATETIME(6), q INT AS (n + 1) STORED)",
    )
    rows(
        changed,
        "INSERT INTO added (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) VALUES"
        " (1.1, -2e-200, 12345678901234567890.5, b'101', 2026, '2026-01-02', '-12:34:56.789', 'ß', 'p,q',"
        " 'é\\'\\n(,', '🎉', '{\"a\": [1, \"🎉\"]}', X'00FF27', 5, 'a', '2026-01-02 03:04:05.000006')",
    )
    rows(changed, "INSERT INTO added (a) VALUES (NULL)")
    result = users(changed, "backup", tmp_path / "x.backup")
    assert result.exit_code == 0, result.output
    result = users(mysql_empty_database, "restore", tmp_path / "x.backup")
    assert result.exit_code == 0, result.output
    assert mysql_content(mysql_empty_database) == mysql_content(changed)


@pytest.mark.long
def test_a_session_that_loses_characters_gives_no_backup(
    filled: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server sends is compared with what it stores: an emoji that arrives as a question mark is noticed."""
    monkeypatch.setattr("users_service.mysql.engines.init_command", lambda: "SET NAMES utf8mb3, time_zone = '+00:00'")
    assert "the values read of users are not those that the server has" in one_line(
        users(filled, "backup", tmp_path / "x.backup")
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_values_are_compared_after_a_restore(
    filled: MySQLDatabase, tmp_path: Path, mysql_empty_database: MySQLDatabase
) -> None:
    """A restore after which a table has other values than it had fails, however many rows there are."""
    path = tmp_path / "other.backup"
    asyncio.run(_back_up_with_counts(filled, path, checksums={"sessions": "1"}))
    line = one_line(users(mysql_empty_database, "restore", path))
    assert "sessions does not have the values that it had" in line
    assert "restore_unfinished" in mysql_content(mysql_empty_database)


async def _back_up_with_counts(
    database: MySQLDatabase, path: Path, checksums: dict[str, str] | None = None, **counts: int
) -> None:
    """Take a backup whose manifest counts or adds up wrongly, and whose parts have their checksums."""
    with writing.create(path) as archive:
        async with open_snapshot(settings_for(database), utc_now) as snapshot:
            archive.begin(SERVICE, snapshot.schema)
            with archive.part(PART) as part:
                counted = await dump(snapshot, part.write, lambda _rows: None)
        archive.finish(
            Source(
                service=SERVICE,
                database=database.name,
                server=snapshot.server,
                schema_revision=snapshot.schema,
                taken_at=snapshot.taken_at,
                counts=counted | counts,
                checksums=checksums or {},
                position=None,
            )
        )


@pytest.mark.long
def test_rows_without_their_user_are_found(
    changed: MySQLDatabase, mysql_server: MySQLServer, tmp_path: Path, mysql_empty_database: MySQLDatabase
) -> None:
    """Rows are loaded without a look at foreign keys, so the restore looks afterwards."""
    run_mysql(mysql_server, ["SET foreign_key_checks = 0", "DELETE FROM users WHERE id = 'u1'"], database=changed.name)
    assert users(changed, "backup", tmp_path / "x.backup").exit_code == 0
    line = one_line(users(mysql_empty_database, "restore", tmp_path / "x.backup"))
    assert "sessions has rows whose user_id is not in users" in line


@pytest.mark.long
def test_a_server_that_goes_away_leaves_no_file(
    filled: MySQLDatabase, mysql_server: MySQLServer, tmp_path: Path
) -> None:
    """A backup that loses its server in the middle is one line and no file, not a short file."""
    with proxy_to(mysql_server.host, mysql_server.port) as proxy:
        cut_after(proxy, MIDDLE)
        away = MySQLDatabase("127.0.0.1", proxy.listens, filled.user, filled.password, filled.name)
        line = one_line(users(away, "backup", tmp_path / "x.backup"))
    assert line.startswith("MySQL at 127.0.0.1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_an_interrupted_restore_can_be_seen_and_started_over(
    filled: MySQLDatabase, backup: Path, mysql_empty_database: MySQLDatabase, mysql_server: MySQLServer
) -> None:
    """A restore whose server goes away leaves a marked database, which is refused until it is started over."""
    target = mysql_empty_database
    with proxy_to(mysql_server.host, mysql_server.port) as proxy:
        cut_after(proxy, MIDDLE)
        away = MySQLDatabase("127.0.0.1", proxy.listens, target.user, target.password, target.name)
        assert "--start-over" in one_line(users(away, "restore", backup))
    assert "restore_unfinished" in mysql_content(target)
    assert "did not finish" in one_line(users(target, "restore", backup))
    result = users(target, "restore", backup, "--start-over")
    assert result.exit_code == 0, result.output
    assert mysql_content(target) == mysql_content(filled)


@pytest.mark.long
def test_the_rights_that_the_documentation_names_are_enough(
    filled: MySQLDatabase, mysql_server: MySQLServer, tmp_path: Path
) -> None:
    """An account with the documented rights and no others takes a backup, with the position where there is a log."""
    account = f"b{filled.name[-20:]}"
    grants = [
        f"GRANT SELECT, LOCK TABLES ON `{filled.name}`.* TO '{account}'@'%'",
        f"GRANT REPLICATION CLIENT ON *.* TO '{account}'@'%'",
    ]
    run_mysql(mysql_server, [f"CREATE USER '{account}'@'%' IDENTIFIED BY 'only-for-this-test'", *grants])
    try:
        limited = MySQLDatabase(filled.host, filled.port, account, "only-for-this-test", filled.name)
        result = users(limited, "backup", tmp_path / "x.backup")
        assert result.exit_code == 0, result.output
    finally:
        run_mysql(mysql_server, [f"DROP USER '{account}'@'%'"])
    has_log = rows(filled, "SELECT @@GLOBAL.log_bin")[0][0]
    assert (Archive(tmp_path / "x.backup").manifest.position is not None) == bool(has_log)


def test_another_services_backup_is_refused(backup: Path) -> None:
    """The file of one service is not poured into the database of the other."""
    line = one_line(notifications(MongoDatabase("mongodb://127.0.0.1:1/x", "x"), "restore", backup))
    assert "a backup of users-service" in line
