"""Takes away what a test's log has left behind in the standard library's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def standard_logging_is_left_alone() -> Iterator[None]:
    """Remove our handler after each test: it would write drivers' warnings into the output of later tests' commands."""
    yield
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not type(handler).__module__.startswith("chassis.")]
