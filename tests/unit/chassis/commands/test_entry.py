"""The console commands where packages of the servers are missing, and how much of a crashed process is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from chassis.core_dumps import NONE
from tests.harness.patience import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[4]
# Python alone: what `pip install vibework-services` brings is no package of the servers.
BARE: Final = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})"]
CRASH: Final = """
import os, resource, sys
from chassis import core_dumps
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
if "forbid" in sys.argv: core_dumps.forbid()
if "allow" in sys.argv: core_dumps.allow()
child = os.fork()
if not child: os.abort()
os.waitpid(child, 0)
os.abort()
"""


@pytest.mark.parametrize("package", ["users_service", "notifications_service"])
def test_a_missing_package_is_named_in_one_line(package: str) -> None:
    """Whoever installed what callers need, and types a server's command, is told what to install; exit code 2."""
    code = f"{BARE[-1]}\nfrom {package}.__main__ import main\nmain()"
    ended = subprocess.run([*BARE[:-1], code], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    command = package.replace("_", "-")
    missing = "the package click, which is not installed: pip install 'vibework-services[server]'"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"{command} needs {missing}\n"


def ended_by(folder: Path, *words: str) -> int:
    """Crash a process in a folder; return how it ended, as waitid(2) tells."""
    command = [sys.executable, "-c", CRASH, *words]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.DEVNULL)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGABRT
    assert ended is not None
    return ended.si_code


def test_a_process_that_crashes_leaves_no_core_unless_it_may(tmp_path: Path) -> None:
    """The same crash leaves one where cores are allowed, so the kernel of this machine makes them."""
    assert ended_by(tmp_path, "forbid") == os.CLD_KILLED
    assert list(tmp_path.iterdir()) == []
    # Some machines make none at all.
    assert ended_by(tmp_path, "forbid", "allow") == ended_by(tmp_path)


def test_the_limit_is_one_that_also_ends_what_programs_collect() -> None:
    """The kernel pipes cores into a program whatever the limit, but for one byte."""
    assert NONE == 1
