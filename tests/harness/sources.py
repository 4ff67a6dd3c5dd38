"""Modules of the project as trees of syntax, parsed once for all tests that look into them.

Such a test has the mark `reads_sources`, which keeps them all in one process. When the last has ended there, the trees
go: of a million objects, each collection of garbage that looks through them stops the process for half a second.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")

_GROUP: Final = "sources"
reads_sources: Final = pytest.mark.xdist_group(_GROUP)


_caches: Final[list[Any]] = []


def of_trees(function: Callable[P, T]) -> Callable[P, T]:
    """Cache what a function makes of trees; it goes when they do."""
    cached = cache(function)
    _caches.append(cached)
    return cached  # type: ignore[return-value]


@of_trees
def tree_of(path: Path) -> ast.Module:
    """Return a module's tree, which is shared: nobody changes it. Raises `SyntaxError`."""
    return ast.parse(path.read_text())


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let the trees go behind the last test that needs them."""
    if _reads_sources(item) and not _reads_sources(nextitem):
        for cached in _caches:
            cached.cache_clear()


def _reads_sources(item: pytest.Item | None) -> bool:
    group = None if item is None else item.get_closest_marker("xdist_group")
    return group is not None and group.args == (_GROUP,)
