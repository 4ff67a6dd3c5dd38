"""The bench runs from end to end and leaves its files behind."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


def test_a_short_run_measures_every_target(tmp_path: Path) -> None:
    """Every target has a value, every subject a rate, and the picture can be read."""
    # Not for each run that collects this test and leaves it out: half a second.
    from tests.bench.__main__ import Options, run
    from tests.bench.targets import EXCESSES, RATIOS

    no_load = {"rate": 0, "in_flight": 0, "connections": 0}
    run(Options(minutes=0.1, rounds=1, scale=0.01, only=(), against=None, output=tmp_path, **no_load))
    written = json.loads((tmp_path / "bench.json").read_text())
    # Of calls, of two idle processes, and of watches.
    assert len(written["targets"]) == len(RATIOS) + len(EXCESSES) + 4 + 3
    assert all(one["calls_per_second"] > 0 for rounds in written["subjects"].values() for one in rounds)
    ET.fromstring((tmp_path / "bench.svg").read_text())  # noqa: S314 - our own
