"""Fixtures of the harness, for all tests."""

from __future__ import annotations

import os

# Many servers run at once: none takes the port of the metrics, unless a test says which.
os.environ.setdefault("METRICS_PORT", "0")

pytest_plugins = [
    "tests.harness.database_fixtures",
    "tests.harness.grouping",
    "tests.harness.logs",
    "tests.harness.users",
    "tests.harness.pair",
]
