"""The time limit of a simulation: it does not wait, and takes what the processor takes, which others may share."""

from __future__ import annotations

import pytest

HERE = "tests/simulation/"
# Of real time. No schedule is endless: its steps are counted.
LIMIT_SECONDS = 1_800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder more time."""
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
