"""Better Auth itself: its npm package makes a database, with its own migrations and calls.

The sources are copied to .local/better-auth and installed there, so only the first run on a machine downloads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, Final

import pytest

from tests.harness.databases import MySQLDatabase
from tests.harness.toolchains import CACHES, ROOT

PROGRAMS: Final = ("node", "npm")
SOURCES: Final = ROOT / "tests" / "integration" / "users" / "adoption" / "better_auth"
WORK: Final = ROOT / ".local" / "better-auth"


def installed() -> None:
    """Install the packages of package-lock.json; a toolchain that is not there fails the test and is named."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.fail(f"`script/test --all` needs {' and '.join(absent)}, which this machine lacks")
    shutil.copytree(SOURCES, WORK, dirs_exist_ok=True)
    lock, done = WORK / "package-lock.json", WORK / "node_modules" / ".of"
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        _run(["npm", "ci", "--no-audit", "--no-fund"], {})
        done.write_bytes(lock.read_bytes())


def make(database: MySQLDatabase, variant: str = "") -> dict[str, Any]:
    """Let Better Auth make its tables in a database, and people in them; return the people, and all as statements.

    ``variant``: `admin`, with the plugin of that name; `serial`, with ids that are numbers.
    """
    made: dict[str, Any] = json.loads(_run(["node", "make.mjs"], {**database.environment(), "VARIANT": variant}))
    return made


def _run(command: list[str], environment: dict[str, str]) -> str:
    full = {**os.environ, **CACHES, **environment}
    ended = subprocess.run(command, cwd=WORK, env=full, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout
