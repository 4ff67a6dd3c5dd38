"""Modules of the project as trees of syntax, parsed once for all tests that look into them.

Such a test has the mark `reads_sources`, which keeps them all in one process.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

reads_sources: Final = pytest.mark.xdist_group("sources")


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a module's tree, which is shared: nobody changes it. Raises `SyntaxError`."""
    return ast.parse(path.read_text())
