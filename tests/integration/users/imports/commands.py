"""The commands `import` and `export`, run in a process of their own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from google.protobuf import json_format
from vibework.users.v1 import imported_user_pb2 as pb

from tests.harness.database_servers import ROOT
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import SECRET_KEYS


def environment(database: MySQLDatabase, **settings: str) -> dict[str, str]:
    """Return the environment of a command on a database."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    own = {"PYTHONPATH": path, "SECRET_KEYS": SECRET_KEYS, "NOTIFICATIONS_ADDRESS": "off"}
    return {**os.environ, **own, **database.environment(), **settings}


def command(
    database: MySQLDatabase,
    *arguments: str | Path,
    given: bytes | None = None,
    settings: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the users service; `given`: what it reads from its standard input; `settings`: more of them."""
    return subprocess.run(
        [sys.executable, "-m", "users_service", *map(str, arguments)],
        env=environment(database, **(settings or {})),
        input=given,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def line(message: pb.ImportedUser) -> bytes:
    """Return the line of a user in a file."""
    return orjson.dumps(json_format.MessageToDict(message)) + b"\n"


def written(path: Path, messages: Sequence[pb.ImportedUser]) -> Path:
    """Write users to a file."""
    path.write_bytes(b"".join(map(line, messages)))
    return path


def reports(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """Return the lines that a command has printed."""
    return [orjson.loads(each) for each in done.stdout.splitlines()]
