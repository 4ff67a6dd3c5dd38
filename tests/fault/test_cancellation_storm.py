"""Callers who leave both services, as processes, in crowds: nothing stays of them, and nobody gets another's answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.services import running
from tests.fuzzing.storm import report, weather
from tests.harness.database_servers import TestRun

# One after the other: they look at transactions of the whole server.
pytestmark = pytest.mark.xdist_group("mongodb-storms")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_storm_leaves_nothing_behind(test_run: TestRun, tmp_path: Path) -> None:
    """After thousands of calls and watches that were left, pools, gauges and both databases are as before."""
    with running(test_run, tmp_path) as there:
        found = weather(there, calls=4_000, watches=400, normal=600)
    assert found.problems == [], "\n".join(report(found))
    assert found.stayed == 600
