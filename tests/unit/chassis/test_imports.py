"""A server loads no library for what it is not asked to do: that costs memory and time at each start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.harness.database_servers import ROOT
from tests.harness.patience import PATIENCE_SECONDS

# aiohttp posts push messages and fetches the keys of callers' tokens, Alembic migrates.
UNASKED = ("aiohttp", "alembic")
LOADED = f"""
import json, sys, {{package}}.app, {{package}}.commands.serve
print(json.dumps([name for name in {UNASKED} if name in sys.modules]))
"""


@pytest.mark.long
@pytest.mark.parametrize("package", ["users_service", "notifications_service"])
def test_what_a_server_may_do_without_is_not_loaded(package: str) -> None:
    """What posts push messages, fetches keys or migrates is loaded where the settings or the command ask for it."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(package=package)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    assert json.loads(done.stdout) == []
