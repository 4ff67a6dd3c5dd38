"""What tests of hashing have in common."""

from __future__ import annotations

import pytest

from tests.harness.patience import PATIENCE_SECONDS
from users_service.passwords.pool import HashingPool


@pytest.fixture(autouse=True)
def patient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hash take its time where the test says nothing else: the start of a process alone may take seconds."""
    defaults = HashingPool.run.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "patience", PATIENCE_SECONDS)
