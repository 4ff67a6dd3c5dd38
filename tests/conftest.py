"""Fixtures of the harness, for all tests."""

from __future__ import annotations

import gc
import os
import sys

from hypothesis import HealthCheck, settings

# Many servers run at once: none takes the port of the metrics, unless a test says which.
os.environ.setdefault("METRICS_PORT", "0")

# Hundreds of processes start in a run, and each would compile all modules anew. Containers often ask for that.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Thousands of tests are collected, none of which is ever garbage: looking through them again and again takes as long.
gc.disable()

# How long an example takes is the machine's; what must be quick, the bench measures.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A project of its own, which tests/integration/testing runs.
collect_ignore = ["consumer"]

pytest_plugins = [
    "tests.harness.database_fixtures",
    "tests.harness.grouping",
    "tests.harness.logs",
    "tests.harness.loops",
    "tests.harness.promised",
    "tests.harness.reports",
    "tests.harness.samples",
    "tests.harness.socket_makers",
    "tests.harness.sources",
    "tests.harness.transports",
    "tests.harness.users",
    "tests.harness.pair",
]


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but look no more at what was there before the first test."""
    gc.freeze()
    gc.enable()
