"""Finding vtcombo: the one that VTCOMBO names, else one built here once, from the Go modules of Vitess."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from vibework.testing.local.problems import LocalProblem

from tests.harness.database_servers import ROOT

# The module's number of Vitess 24.0.4.
MODULE: Final = "vitess.io/vitess/go/cmd/vtcombo"
VERSION: Final = "v0.24.4"
CACHE: Final = ROOT / ".local" / "vtcombo"


def find() -> Path | None:
    """Return the program, or None where none is named and none was built. Raises LocalProblem for a wrong name."""
    if named := os.environ.get("VTCOMBO"):
        if not os.access(named, os.X_OK):
            raise LocalProblem(f"VTCOMBO names no program: {named}")
        return Path(named)
    built = CACHE / VERSION / "vtcombo"
    return built if built.exists() else None


def find_or_build() -> Path:
    """Return the program, built if it was not there, which takes about half an hour. Raises LocalProblem."""
    if found := find():
        return found
    if shutil.which("go") is None:
        raise LocalProblem("vtcombo is missing: name one in VTCOMBO, or install Go 1.26, with which it is built")
    folder = CACHE / VERSION
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sys.stderr.write(f"Building vtcombo {VERSION}: about half an hour, once\n")
    # A module of its own around it: `go install` refuses one whose go.mod excludes others.
    for command in (
        ("go", "mod", "init", "vibework.example/vtcombo"),
        ("go", "get", "-tool", f"{MODULE}@{VERSION}"),
        ("go", "build", "-o", "vtcombo.unfinished", MODULE),
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalProblem(f"{' '.join(command)} failed in {folder}", detail=done.stderr[-2000:])
    (folder / "vtcombo.unfinished").rename(folder / "vtcombo")
    return folder / "vtcombo"
