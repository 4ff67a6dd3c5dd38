"""Faults harm nothing but what the suite has started."""

from __future__ import annotations

from pathlib import Path

import pytest
from vibework.testing.local.problems import LocalProblem

from tests.reliability.faults import FAULTS, full_disk, full_disk_of_mongodb, full_disk_of_mysql


def test_the_disk_of_the_machine_is_never_filled(tmp_path: Path) -> None:
    """Where no file system could be mounted, nothing is written."""
    with pytest.raises(LocalProblem, match="no file system of its own"), full_disk(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_faults_that_fill_a_disk_say_so() -> None:
    """They are left out where there is none to fill."""
    assert {fault.begin for fault in FAULTS if fault.fills_disk} == {full_disk_of_mysql, full_disk_of_mongodb}
