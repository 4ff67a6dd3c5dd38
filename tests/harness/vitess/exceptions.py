"""Tests that cannot hold on a sharded Vitess, each with the reason; everything else of the users' suite runs on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

_NOT_EMPTY: Final = "it needs a database without tables, and a keyspace has them from the beginning"
# By the beginning of the test's id.
EXCEPTIONS: Final = {
    "tests/integration/users/adoption/": _NOT_EMPTY,
    "tests/integration/users/test_migrations_mysql.py": _NOT_EMPTY,
    "tests/integration/users/test_locking_migrations.py": _NOT_EMPTY,
    "tests/integration/users/users/test_faults.py": "it kills connections by KILL, which vtgate does not take",
}


def skip(items: Iterable[pytest.Item]) -> None:
    """Skip those of the tests."""
    for item in items:
        for beginning, reason in EXCEPTIONS.items():
            if item.nodeid.startswith(beginning):
                item.add_marker(pytest.mark.skip(reason=f"on Vitess: {reason}"))
