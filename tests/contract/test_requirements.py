"""What pyproject.toml asks for: each package once, and every package that a module imports, where that module runs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import files, packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.harness.sources import reads_sources, tree_of

pytestmark = reads_sources
ROOT = Path(__file__).resolve().parents[2]
FILE: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = FILE["project"]
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
GROUPS: dict[str, list[str]] = FILE["dependency-groups"]
# Who installs what: callers their own distribution, some with an extra of it, the image the extra `server`,
# script/server `local`, the rest `dev`.
CALLERS = CLIENT["dependencies"]
OPTIONAL: dict[str, list[str]] = CLIENT["optional-dependencies"]
SERVER = [*CALLERS, *EXTRAS["server"]]
LOCAL = [*SERVER, *EXTRAS["local"]]
DEV = [*LOCAL, *EXTRAS["native"], *EXTRAS["dev"]]
RUN_BY = {
    "client": [*CALLERS, *(need for needs in OPTIONAL.values() for need in needs)],
    "chassis": SERVER,
    "chassis/serving": [*SERVER, *EXTRAS["native"]],
    "users_service": SERVER,
    "notifications_service": SERVER,
    "migrations": SERVER,
    "deploy": SERVER,
    "script/local": LOCAL,
    "script/drill": LOCAL,
    "script": DEV,
    "tests": DEV,
}
# `shop` is the module of tests/consumer, a project of its own.
OWN = {
    "chassis",
    "deploy",
    "migrations",
    "notifications_service",
    "script",
    "shop",
    "tests",
    "users_service",
    "vibework",
}
# Python's own, this one's and that of 3.14 (`compression`).
STANDARD = sys.stdlib_module_names | {"compression"}
# Namespaces that several packages share, so that the first name alone says nothing.
SHARED = {"google", "opentelemetry"}
INSTALLED = packages_distributions()


def canonical(requirement: str) -> str:
    """Return the name of the package that a requirement asks for, as indexes compare names (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def modules(part: str) -> Iterator[Path]:
    """Yield the modules below a part of the tree, without those of a part that is named for itself."""
    for path in sorted((ROOT / part).rglob("*.py")):
        inner = "/".join(path.relative_to(ROOT).parts[:2])
        if inner == part or inner not in RUN_BY:
            yield path


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports from outside of the project and of Python, wherever in it."""
    for node in _statements(tree_of(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] not in OWN | STANDARD:
                yield name


def _statements(within: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements, without what they are made of, which is most of a tree."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(within, part, ()):
            yield node
            yield from _statements(node)


def providers(name: str) -> set[str]:
    """Return the packages that carry an imported module."""
    first = name.split(".", maxsplit=1)[0]
    found = INSTALLED.get(first, [])
    if first not in SHARED:
        return {canonical(package) for package in found}
    folder = "/".join(name.split(".")[:2])
    return {canonical(package) for package in found if folder in _folders(package)}


@cache
def _folders(package: str) -> set[str]:
    return {"/".join(file.parts[:2]) for file in files(package) or ()}


# Of tests there are as many lines as of all else.
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.long] if part == "tests" else []) for part in RUN_BY]
)
def test_whatever_is_imported_is_asked_for(part: str) -> None:
    """A package that only comes along with another one is gone the day that the other one no longer needs it."""
    asked_for = {canonical(requirement) for requirement in RUN_BY[part]}
    missing = {
        name: str(path.relative_to(ROOT))
        for path in modules(part)
        for name in imported(path)
        if not providers(name) & asked_for
    }
    assert missing == {}


def test_every_part_of_the_tree_is_looked_at() -> None:
    """A folder of modules that nobody named above would import what it likes."""
    folders = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[a-z]*/**/*.py")}
    assert folders <= RUN_BY.keys()


@pytest.mark.parametrize("lines", [CALLERS, *EXTRAS.values(), *GROUPS.values()], ids=["client", *EXTRAS, *GROUPS])
def test_nothing_is_asked_for_twice(lines: list[str]) -> None:
    """Of two lines for one package only one would be kept up to date."""
    assert [name for name, times in Counter(map(canonical, lines)).items() if times > 1] == []


def test_dev_repeats_nothing_of_the_server() -> None:
    """Tests run with what the server runs with, in the version that it asks for."""
    own = {canonical(need) for need in EXTRAS["dev"]} - {"vibework-services"}
    assert own & {canonical(need) for need in LOCAL} == set()


def test_both_distributions_are_one_release() -> None:
    """The servers ask for the client and the stubs that were generated from their own contract."""
    assert PROJECT["version"] == CLIENT["version"]
    assert PROJECT["dependencies"] == [f"{CLIENT['name']}=={CLIENT['version']}"]


def test_tests_run_with_what_callers_may_have() -> None:
    """An extra of the client is tried in the version that its own file asks for."""
    assert {need for needs in OPTIONAL.values() for need in needs} <= {*LOCAL, *EXTRAS["dev"]}
