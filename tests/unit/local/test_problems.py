"""What stands in the way of local databases is said in one line."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from vibework.testing.local import mysql_installation
from vibework.testing.local.problems import LocalProblem

from script.local import mongodb_installation, packages, server

INSTEAD = "do it yourself"


def test_missing_package_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a known package manager is told what it can do instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalProblem, match=f"a thing is not installed and no package manager .*: {INSTEAD}"):
        packages.install("a thing", {"apt-get": ("thing",)}, instead=INSTEAD)


def test_no_right_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who is neither root nor may become it is told so, and nothing is run."""
    program(tmp_path, "apt-get", "exit 99")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LocalProblem, match="needs root or sudo"):
        packages.install("a thing", {"apt-get": ("thing",)}, instead=INSTEAD)


def test_failing_installation_shows_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the package manager fails its last words come with the line."""
    program(tmp_path, "dnf", "echo mirror unreachable >&2; exit 7")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(packages, "package_manager", lambda: "dnf")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(LocalProblem, match="a thing could not be installed") as caught:
        packages.install("a thing", {"dnf": ("thing",)}, instead=INSTEAD)
    assert "mirror unreachable" in caught.value.detail


def test_server_without_its_tools_is_not_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A half-installed MariaDB is completed, not run into a wall with."""
    program(tmp_path, "mariadbd", "echo 'mariadbd Ver 10.11.1-MariaDB'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(mysql_installation, "MORE_DIRECTORIES", ())
    monkeypatch.setattr(mysql_installation, "SERVER_NAMES", ("mariadbd",))
    monkeypatch.setattr(mysql_installation, "INSTALLER_NEEDS", ("no-such-tool",))
    assert mysql_installation.find() is None


def test_no_mongod_for_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the packaged mongod does not run, the line says what to install or to name."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LocalProblem, match=r"install MongoDB .* MONGODB_URL"):
        mongodb_installation.find_or_install(tmp_path / "cache")


def test_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk without room ends the start before anything is written to a database: one line, exit code 2."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - what shutil returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 5_000_000))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert server.main(["--directory", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("server: the disk is full: 5 MB are free in")


def program(folder: Path, name: str, body: str) -> None:
    """Put a shell program into the folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
