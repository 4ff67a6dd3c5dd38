"""Bad input in crowds, to both services as processes: nothing of it is UNKNOWN, INTERNAL, the end of one, or logged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.fuzzing import report
from tests.fuzzing.command import fuzz
from tests.fuzzing.mutations import MUTATIONS
from tests.fuzzing.services import running
from tests.harness.database_servers import TestRun

CASES: Final = 5_000


@pytest.mark.timeout(900)
def test_bad_input_harms_nobody(test_run: TestRun, tmp_path: Path) -> None:
    """Requests made from the descriptors, and attacks below them, are refused by rule or served, within bounds."""
    with running(test_run, tmp_path) as there:
        results, memory = fuzz(there, range(CASES), seed=1)
    told = "\n".join(report.lines(results, [str(each) for each in memory]))
    assert results.problems == [], told
    assert results.cases == CASES
    # It is as bad as it claims to be, and enough of it is taken to reach what is behind the rules.
    assert {mutation for mutation, _ in results.ended} >= set(MUTATIONS) - {"too large"}, told
    assert results.reasons["OK"] > CASES // 5, told
