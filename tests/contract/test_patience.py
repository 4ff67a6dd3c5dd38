"""Tests assume nothing of how fast the machine is: what must come is waited for with one patience.

A shorter deadline, or a bound on the time that something took, has a name, which says whose it is: the product's
promise, or what the test is about.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.sources import reads_sources, tree_of

pytestmark = reads_sources
TESTS: Final = Path(__file__).parents[1]
# Measures how fast the machine is.
BENCH: Final = TESTS / "bench"
# Functions by the place of their time limit.
WAITING: Final = {"asyncio.timeout": 0, "asyncio.wait_for": 1, "wait_idle": 0}
LAST: Final = frozenset(name.rpartition(".")[2] for name in WAITING)
# Of these, ``timeout`` is a setting of the product.
UNDER_TEST: Final = frozenset({"Client", "Coalescer"})
CLOCKS: Final = ("monotonic", "perf_counter", "time")
# Without one of these words there is neither a limit nor a clock, and a tree takes much longer than a search.
WORDS: Final = re.compile("|".join(("timeout", *LAST, *CLOCKS[:2], r"time\(")))


def assumed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of whatever takes a number without a name for the time that something may take."""
    for node in ast.walk(tree):
        waits = isinstance(node, ast.Call) and any(_is_short(limit) for limit in _limits(node))
        if waits or (isinstance(node, ast.Compare) and _is_elapsed(node.left) and _bounds(node)):
            yield getattr(node, "lineno", 0), ast.unparse(node)


def _limits(call: ast.Call) -> Iterator[ast.expr]:
    last = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    # Most calls are of neither kind, and the text of each takes time.
    if last not in LAST and all(keyword.arg != "timeout" for keyword in call.keywords):
        return
    name = ast.unparse(call.func)
    for waiting, place in WAITING.items():
        if name.rpartition(".")[2] == waiting or name == waiting:
            yield from call.args[place : place + 1]
    if name not in UNDER_TEST:
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "timeout")


def _is_short(limit: ast.expr) -> bool:
    return isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) and limit.value < PATIENCE_SECONDS


def _is_elapsed(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _is_now(node.left)


def _is_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CLOCKS


def _bounds(node: ast.Compare) -> bool:
    # A number above it: below it, something must have waited, which every machine does.
    pairs = zip(node.ops, node.comparators, strict=True)
    return any(isinstance(op, ast.Lt | ast.LtE) and isinstance(bound, ast.Constant) for op, bound in pairs)


def test_whoever_waits_has_patience() -> None:
    """A busy machine takes ten times as long, and fails nothing."""
    places = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path in sorted(TESTS.rglob("*.py"))
        if BENCH not in path.parents and path != Path(__file__) and WORDS.search(path.read_text())
        for line, text in assumed(tree_of(path))
    ]
    assert not places, "wait with tests.harness.patience, or give the time a name:\n" + "\n".join(places)


@pytest.mark.parametrize(
    "source",
    [
        "async with asyncio.timeout(10): ...",
        "await asyncio.wait_for(event.wait(), 5)",
        "assert await server.in_flight.wait_idle(5)",
        "stub.Check(request, timeout=1)",
        "assert time.monotonic() - began < 2",
        "assert loop.time() - began <= 2.5",
    ],
)
def test_assumptions_are_seen(source: str) -> None:
    """Each kind of them."""
    assert list(assumed(ast.parse(f"async def f():\n    {source}")))


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.wait_for(event.wait(), PATIENCE_SECONDS)",
        "stub.Check(request, timeout=PROMISED_SECONDS)",
        "Client(timeout=5)",
        "assert time.monotonic() - began > 0.3",
        "assert time.monotonic() - began < PROMISED_SECONDS",
    ],
)
def test_what_has_a_name_is_meant(source: str) -> None:
    """And what is the product's, or must take long."""
    assert not list(assumed(ast.parse(source)))
