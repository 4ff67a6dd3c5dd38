"""Both distributions as others get them: wheels from a copy of the sources, in environments with nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("chassis", "migrations", "notifications_service", "users_service")
SOURCES: Final = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE", "client", "protos", *PACKAGES)
# A line of a lock file without its hashes.
PINNED: Final = re.compile(r"^([\w.\[\]-]+==[^\s;]+(?: ; [^\\\n]+)?)", re.MULTILINE)
BUILD: Final = "import sys, setuptools.build_meta as backend; print(backend.build_{kind}(sys.argv[1]))"


def copy_sources(tree: Path) -> None:
    """Copy what is packaged, so that nothing is written beside the sources."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tree)


def build(kind: str, tree: Path) -> Path:
    """Build a wheel or an sdist of a source tree."""
    target = tempfile.mkdtemp(dir=tree.parent)
    command = [sys.executable, "-c", BUILD.format(kind=kind), target]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Path(target, built.stdout.splitlines()[-1])


def install(folder: Path, *requirements: str, python: str = sys.executable) -> Path:
    """Make an environment with these and what they need, in the versions of the tests; return its Python.

    ``python``: the one that the environment is made of.
    """
    constraints = folder.with_name(f"{folder.name}-constraints.txt")
    constraints.write_text("\n".join(PINNED.findall((ROOT / "requirements" / "dev.txt").read_text())))
    own = folder / "bin" / "python"
    if uv := shutil.which("uv"):
        _run(uv, "venv", "--quiet", "--python", python, str(folder))
        command = [uv, "pip", "install", "--quiet", "--python", str(own)]
    else:
        # The pip of the tests, where they have one: another in each environment takes seconds, and so would modules
        # that are compiled in advance, of which few are used.
        has_pip = find_spec("pip") is not None
        _run(python, "-m", "venv", *["--without-pip"] * has_pip, str(folder))
        pip = [sys.executable, "-m", "pip", "--python", str(own)] if has_pip else [str(own), "-m", "pip"]
        command = [*pip, "install", "--quiet", "--no-compile"]
    _run(*command, "--constraint", str(constraints), *requirements)
    return own


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
