"""Tests of a file stay together, and those marked `xdist_group`, whatever field pytest keeps their ids in."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.harness.grouping import pytest_collection_modifyitems, scope_of


class Grouping:
    """A configuration of a run with `--dist loadgroup`."""

    def getoption(self, name: str, **_default: object) -> bool:
        """Say that groups count."""
        return name == "loadgroup"


def test_the_scheduler_is_told_the_group(request: pytest.FixtureRequest) -> None:
    """The id of a marked test, which is all that the scheduler sees, ends in its group; others stay as they are."""
    module = request.node.getparent(pytest.Module)
    items: list[Any] = [
        pytest.Function.from_parent(module, name=name, callobj=lambda: None) for name in ("made_up", "other")
    ]
    items[0].add_marker(pytest.mark.xdist_group("together"))
    for _ in range(2):  # as where pytest-xdist has done it already
        pytest_collection_modifyitems(cast("pytest.Config", Grouping()), items)
    assert [item.nodeid.rpartition("::")[2] for item in items] == ["made_up@together", "other"]


def test_a_file_stays_together() -> None:
    """Fixtures of a module are made once; a group may be of several files."""
    lone, grouped = "tests/unit/test_a.py::test_b[c]", "tests/unit/test_a.py::test_d@together"
    assert scope_of(lone, lone) == "tests/unit/test_a.py"
    assert scope_of(grouped, "together") == "together"
