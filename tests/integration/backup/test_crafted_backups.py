"""Files that are no backups, by accident or on purpose: one line, little memory, nothing changed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.integration.backup.commands import mongodb_content, mysql_content, notifications, rows, users
from tests.integration.backup.crafting import (
    DATABASE,
    DESCRIPTION,
    DOCUMENTS,
    FIRST_PIECE,
    bomb,
    bomb_bytes,
    contents,
    craft,
    reseal,
    seal,
)

GIB = 1 << 30
# The process itself takes 80 to 100 MB, a statement of the longest kind 130.
PEAK_BYTES = 300_000_000
USERS, NOTIFICATIONS = "users-service", "notifications-service"
COLLECTION = {"collectionName": "notifications", "options": {}, "indexes": []}
# Nobody listens there: what gets that far says so.
NOWHERE = {
    "MYSQL_HOST": "127.0.0.1",
    "MYSQL_PORT": "1",
    "MYSQL_USER": "x",
    "MYSQL_PASSWORD": "x",
    "MYSQL_DATABASE": "x",
    "MONGODB_URL": "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100",
}


def crafted(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield services and files that are made to hurt a restore."""
    numbers = iter(range(10_000))

    def path() -> Path:
        return folder / f"{next(numbers)}.backup"

    for frame, size in (
        (bomb(3 * GIB), bomb_bytes(3 * GIB)),
        (
            bomb(3 * GIB, content=b"INSERT INTO `users` VALUES ('"),
            bomb_bytes(3 * GIB, b"INSERT INTO `users` VALUES ('"),
        ),
        (bomb(GIB, window_log=27), bomb_bytes(GIB)),
        (bomb(GIB, window_log=31), bomb_bytes(GIB)),
        (bomb(GIB), 5),
        (bomb(1 << 20) + bytes(1 << 20), bomb_bytes(1 << 20)),
        (b"", 0),
        (b"\x28\xb5\x2f\xfd", 1),
    ):
        yield USERS, craft(path(), USERS, {DATABASE: frame}, {DATABASE: size})
    yield USERS, craft(path(), USERS, {}, {})
    yield from ((NOTIFICATIONS, file) for file in _of_notifications(path))
    yield from ((USERS, file) for file in _manifests(path))
    yield from ((USERS, file) for file in _tars(path))


def _of_notifications(path: Callable[[], Path]) -> Iterator[Path]:
    described = json.dumps(COLLECTION).encode()
    for beginning in (b"", b"\xff\xff\xff\x7f", b"\x04\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01", b"\x0a\0\0\0"):
        size, content = 3 * GIB, beginning
        parts = {DESCRIPTION: described, DOCUMENTS: bomb(size, content=content)}
        yield craft(path(), NOTIFICATIONS, parts, {DOCUMENTS: bomb_bytes(size, content)})
    empty = bomb(0, byte=b"\0")
    for text in (
        b"[" * 900_000,
        b'{"a":' * 100_000,
        b" " * (8 << 20),
        b"\xff",
        b"{}",
        b"[]",
        b'"x"',
        b'{"collectionName": 5, "indexes": []}',
        b'{"collectionName": "a\\u0000b", "indexes": []}',
        b'{"collectionName": "a", "indexes": [5]}',
        b'{"collectionName": "a", "indexes": {}}',
        b'{"collectionName": "a", "options": {"create": "b"}, "indexes": []}',
        *(
            b'{"collectionName": "a", "indexes": [], "options": {"a": %s}}' % value
            for value in (
                b'{"$oid": "x"}',
                b'{"$date": {"$numberLong": "99999999999999999999"}}',
                b'{"$numberDecimal": "x"}',
                b'{"$binary": 5}',
                b'{"$regularExpression": {"pattern": "(", "options": "zz"}}',
                b'{"$uuid": "x"}',
                b'{"$timestamp": {"t": -1}}',
            )
        ),
    ):
        yield craft(path(), NOTIFICATIONS, {DESCRIPTION: text, DOCUMENTS: empty}, {DOCUMENTS: 1})
    yield craft(path(), NOTIFICATIONS, {DESCRIPTION: described}, {})


def _manifests(path: Callable[[], Path]) -> Iterator[Path]:
    for text in (
        b"[" * 900_000,
        b'{"format":' * 90_000,
        b"[%s]" % b",".join([b"[]"] * 300_000),
        b" " * (8 << 20),
        b'{"format": 2}',
        b'{"format": %s}' % (b"9" * 100_000),
        b"\xff\xfe",
        b"null",
    ):
        yield seal(path(), {}, text)
    for changed in (
        {"service": "x\x1b[2J\ny"},
        {"schema_revision": "x" * 100_000},
        {"counts": {"users": -1}},
        {"taken_at": "x"},
        {"parts": [{"name": "../x", "bytes": 0, "content_bytes": 0, "sha256": "0" * 64}]},
        {"parts": [{"name": "a", "bytes": 0, "content_bytes": 0, "sha256": "0" * 64}] * 20_000},
        {"position": 5},
    ):
        yield craft(path(), USERS, {DATABASE: bomb(0)}, {DATABASE: 1}, **changed)


def _tars(path: Callable[[], Path]) -> Iterator[Path]:
    for name, kind, size in (
        ("../../x", tarfile.REGTYPE, 0),
        ("manifest.json", tarfile.SYMTYPE, 0),
        ("manifest.json", tarfile.DIRTYPE, 0),
        ("manifest.json", tarfile.REGTYPE, 1 << 60),
        ("manifest.json", tarfile.REGTYPE, -(1 << 40)),
        ("x", tarfile.XHDTYPE, 1 << 50),
        ("x", tarfile.GNUTYPE_LONGNAME, 3 * GIB),
        ("x", tarfile.GNUTYPE_SPARSE, 1),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, size
        file = path()
        file.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
        # Holes: as large as it says, and next to nothing on the disk.
        os.truncate(file, min(max(size, 0), 4 * GIB) + 20_480)
        yield file
    members = io.BytesIO()
    with tarfile.open(fileobj=members, mode="w") as archive:
        for number in range(30_000):
            archive.addfile(tarfile.TarInfo(f"{number}"))
    file = path()
    file.write_bytes(members.getvalue())
    yield file


_RESTORE_ALL = """
import importlib, json, sys
from click.testing import CliRunner
for line in sys.stdin:
    service, *arguments = json.loads(line)
    main = importlib.import_module(service.replace("-", "_") + ".cli").main
    result = CliRunner().invoke(main, ["restore", *arguments])
    # Of this program alone: what getrusage tells begins with the process that started it.
    (peak,) = (int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([result.exit_code, result.stdout, result.stderr, repr(result.exception), peak]), flush=True)
"""


@pytest.mark.long
def test_a_crafted_file_is_one_line_and_takes_little_memory(tmp_path: Path) -> None:
    """Files that would unfold to gigabytes, or nest without end, or name what is elsewhere, are refused in one line.

    By both services, before they look at a database, and in no more memory than the longest statement takes.
    """
    files = list(crafted(tmp_path))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"} | NOWHERE
    asked = "".join(json.dumps([service, str(file)]) + "\n" for service, file in files)
    done = subprocess.run(
        [sys.executable, "-c", _RESTORE_ALL],
        input=asked,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for (_, file), (code, printed, said, exception, peak) in zip(files, answers, strict=True):
        assert (code, printed, exception) == (1, "", "SystemExit(1)"), (file, said)
        (line,) = said.splitlines()
        assert str(file) in line, said
        assert "is not a whole backup" in line or "has format" in line, said
        assert line.isprintable()
        assert len(line) < 500
        assert peak < PEAK_BYTES, (file, peak)


@pytest.fixture(scope="module")
def users_file(mysql_module_database: MySQLDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the users' database with a few rows."""
    for number in range(20):
        address = f"u{number}@example.com"
        rows(
            mysql_module_database,
            "INSERT INTO users (id, email, email_normalized, name)"
            f" VALUES ('u{number}', '{address}', '{address}', '🎉 party')",
        )
    path = tmp_path_factory.mktemp("users") / "users.backup"
    assert users(mysql_module_database, "backup", path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def notifications_file(mongodb_module_database: MongoDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the notifications' database with a few documents."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        client.get_default_database()["notifications"].insert_many(
            [{"title": f"t{number}", "data": {"a": [number]}} for number in range(20)],
            bypass_document_validation=True,
        )
    path = tmp_path_factory.mktemp("notifications") / "notifications.backup"
    assert notifications(mongodb_module_database, "backup", path).exit_code == 0
    return path


# What happens to bytes: a place, how many are taken out there, and what comes in their place.
CHANGE = st.tuples(st.floats(0, 1), st.integers(0, 600), st.binary(max_size=600) | st.just(bytes(512)))
CHANGES = st.lists(CHANGE, min_size=1, max_size=4)
QUICK = settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def changed(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Carry out changes."""
    for place, removed, added in changes:
        start = int(place * len(content))
        content = content[:start] + added + content[start + removed :]
    return content


@QUICK
@given(changes=CHANGES, verify=st.booleans())
def test_no_change_of_a_users_file_is_a_traceback(
    changes: list[tuple[float, int, bytes]],
    verify: bool,
    users_file: Path,
    tmp_path: Path,
    mysql_empty_database: MySQLDatabase,
) -> None:
    """Whatever happened to the bytes of a backup, a dry run says in one line that it is none, and changes nothing."""
    path = tmp_path / "x.backup"
    path.write_bytes(changed(users_file.read_bytes(), changes))
    result = users(mysql_empty_database, "restore", path, "--dry-run", "--verify" if verify else "--no-verify")
    _is_one_line_or_good(result)
    assert mysql_content(mysql_empty_database) == {}


@QUICK
@given(changes=CHANGES, verify=st.booleans())
def test_no_change_of_a_notifications_file_is_a_traceback(
    changes: list[tuple[float, int, bytes]],
    verify: bool,
    notifications_file: Path,
    tmp_path: Path,
    mongodb_empty_database: MongoDatabase,
) -> None:
    """The same of the other service."""
    path = tmp_path / "x.backup"
    path.write_bytes(changed(notifications_file.read_bytes(), changes))
    result = notifications(
        mongodb_empty_database, "restore", path, "--dry-run", "--verify" if verify else "--no-verify"
    )
    _is_one_line_or_good(result)
    assert mongodb_content(mongodb_empty_database) == {}


def _is_one_line_or_good(result: object) -> None:
    code, errors, exception = (getattr(result, name) for name in ("exit_code", "stderr", "exception"))
    assert (code == 0) or (code == 1 and isinstance(exception, SystemExit)), exception
    assert len(errors.splitlines()) == code, errors


@pytest.mark.long
@QUICK
@given(changes=CHANGES, which=st.integers(0, 100))
def test_contents_with_right_checksums_are_no_traceback_either(
    changes: list[tuple[float, int, bytes]],
    which: int,
    notifications_file: Path,
    tmp_path: Path,
    mongodb_empty_database: MongoDatabase,
) -> None:
    """Documents and descriptions that somebody changed, with checksums that fit: restored, or refused in one line."""
    parts = contents(notifications_file)
    name = sorted(parts)[which % len(parts)]
    path = reseal(notifications_file, tmp_path / "x.backup", parts | {name: changed(parts[name], changes)})
    _is_one_line_or_good(notifications(mongodb_empty_database, "restore", path, "--start-over"))
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        client.drop_database(mongodb_empty_database.name)


@pytest.mark.long
@QUICK
@given(changes=CHANGES)
def test_statements_with_right_checksums_are_no_traceback_either(
    changes: list[tuple[float, int, bytes]], users_file: Path, tmp_path: Path, mysql_empty_database: MySQLDatabase
) -> None:
    """SQL that somebody changed, with checksums that fit: restored, or refused in one line."""
    content = contents(users_file)[FIRST_PIECE]
    path = reseal(users_file, tmp_path / "x.backup", {DATABASE: changed(content, changes)})
    _is_one_line_or_good(users(mysql_empty_database, "restore", path, "--start-over"))
    _drop_tables(mysql_empty_database)


def _drop_tables(database: MySQLDatabase) -> None:
    tables = [str(row[0]) for row in rows(database, "SHOW TABLES")]
    server = MySQLServer(database.host, database.port, database.user, database.password)
    # The setting is the connection's.
    drops = ["SET foreign_key_checks = 0", *(f"DROP TABLE `{table}`" for table in tables)]
    run_mysql(server, drops, database=database.name)
