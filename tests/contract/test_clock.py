"""Both services are handed the time; none of their modules asks for it, so that a test can move all of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness.sources import reads_sources, tree_of

pytestmark = reads_sources
ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("users_service", "notifications_service")
# They ask the machine.
ASKING: Final = frozenset(
    {
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "time.gmtime",
        "time.localtime",
        "time.time",
        "time.time_ns",
    }
)
# It may be handed on, by a service's composition root and by its commands alone.
REAL_CLOCK: Final = "chassis.clock.utc_now"
HANDING_ON: Final = ("*/app.py", "*/commands/*.py")


def asked(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of whatever a module names that tells the time, under any alias."""
    origins = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _full_name(node, origins)
            if name in ASKING or name == REAL_CLOCK:
                yield node.lineno, name


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _full_name(node: ast.expr, origins: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, origins)}.{node.attr}"
    return origins.get(node.id, "") if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_handed_the_time(service: str) -> None:
    """A module that asks for the time by itself goes by another one than the rest in a test that moves the clock."""
    places = []
    for path in sorted((ROOT / service).rglob("*.py")):
        place, hands_on = path.relative_to(ROOT), any(path.match(pattern) for pattern in HANDING_ON)
        found = asked(tree_of(path))
        places += [f"{place}:{line}: {name}" for line, name in found if not (hands_on and name == REAL_CLOCK)]
    assert not places, f"take a clock instead: {places}"


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\nx = datetime.now()",
        "import datetime as d\nx = d.datetime.utcnow()",
        "from time import time as t\nx = t()",
        "import time\ny = map(time.time, z)",
        "from chassis import clock\nx = clock.utc_now()",
        "from chassis.clock import utc_now\n\ndef f(clock=utc_now): ...",
    ],
)
def test_whoever_asks_for_the_time_is_seen(source: str) -> None:
    """An alias, or a function that is handed on, hides nothing."""
    assert list(asked(ast.parse(source)))


@pytest.mark.parametrize("source", ["import time\nx = time.monotonic()", "def f(clock): return clock()"])
def test_whoever_measures_or_is_handed_a_clock_is_not_meant(source: str) -> None:
    """Only the time of day is asked of a clock."""
    assert not list(asked(ast.parse(source)))
