"""Keeps tests that are marked `xdist_group` in one process, whose fixtures they share.

pytest-xdist does so by itself, but up to 3.8 by a field that pytest 9.2 does not read any more.
"""

from __future__ import annotations

import pytest
from _pytest.nodeid import NodeId


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the group behind the id of each test, where the scheduler of the run looks for it."""
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and "@" not in item.nodeid:
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")
