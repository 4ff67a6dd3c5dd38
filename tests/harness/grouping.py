"""Keeps the tests of a file in one process, whose fixtures they share, and so those that are marked `xdist_group`.

A server and its databases are then made once for a module, not once in each process. Of groups pytest-xdist knows by
itself, but up to 3.8 by a field that pytest 9.2 does not read any more.
"""

from __future__ import annotations

import pytest
from _pytest.nodeid import NodeId
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the group behind the id of each test, where the scheduler of the run looks for it."""
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and "@" not in item.nodeid:
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")


class Files(LoadGroupScheduling):  # type: ignore[misc] # xdist has no types
    """Gives a process a group, or else a file, at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, super()._split_scope(nodeid))


def scope_of(nodeid: str, group: str) -> str:
    """Return what a test is run together with; ``group``: its id where it has none."""
    return nodeid.partition("::")[0] if group == nodeid else group


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files | None:
    """Distribute by files, in their order: the default begins with those of many tests and ends with the slow ones."""
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return Files(config, log)
