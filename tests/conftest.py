"""Fixtures of the harness, for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Many servers run at once: none takes the port of the metrics, unless a test says which.
os.environ.setdefault("METRICS_PORT", "0")

# How long an example takes is the machine's; what must be quick, the bench measures.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = [
    "tests.harness.database_fixtures",
    "tests.harness.grouping",
    "tests.harness.logs",
    "tests.harness.users",
    "tests.harness.pair",
]
