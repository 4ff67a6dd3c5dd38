"""Places in which what a pair keeps and tells can be read: its tables, collections, backups, metrics and commands."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Mapping
from typing import Any

import pymongo
from vibework.testing.local.ports import LOOPBACK

from chassis.backup.compression import SUFFIX, decompressed
from tests.harness.databases import MongoDatabase, MySQLDatabase, in_own_thread
from tests.harness.mails import ENVIRONMENT
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.statements import query
from tests.harness.users import SECRET_KEYS


def tables(database: MySQLDatabase) -> str:
    """Return all that MySQL holds."""

    async def read() -> str:
        names = [name for (name,) in await query(database, "SHOW TABLES")]
        return "".join([str(await query(database, f"SELECT * FROM `{name}`")) for name in names])

    return str(in_own_thread(read))


def collections(database: MongoDatabase) -> str:
    """Return all that MongoDB holds."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        found = client.get_default_database()
        return "".join(str(list(found[name].find())) for name in found.list_collection_names())


def backup_of(package: str, settings: Mapping[str, str]) -> str:
    """Return what a service's backup holds."""
    command = [sys.executable, "-m", package, "backup", "-"]
    environment = {**ENVIRONMENT, **settings, "SECRET_KEYS": SECRET_KEYS}
    made = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
        parts = [(name, file.read()) for name, file in files if file is not None]
    plain = [b"".join(decompressed([content])) if name.endswith(SUFFIX) else content for name, content in parts]
    return b"".join(plain).decode(errors="replace")


def held(mysql: MySQLDatabase, mongodb: MongoDatabase) -> str:
    """Return all that both databases hold, as rows and as backups."""
    backups = backup_of("users_service", mysql.environment()) + backup_of(
        "notifications_service", mongodb.environment()
    )
    return tables(mysql) + collections(mongodb) + backups


def metrics(port: int) -> str:
    """Return what a scrape is told."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def said(settings: Mapping[str, str], package: str, *arguments: str) -> str:
    """Return what a command of a service prints."""
    command, environment = [sys.executable, "-m", package, *arguments], {**ENVIRONMENT, **settings}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    return done.stdout + done.stderr
