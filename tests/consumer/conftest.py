"""Settings of the pair that this project's tests have."""

from __future__ import annotations

from collections.abc import Mapping

import pytest


@pytest.fixture(scope="session")
def vibework_settings() -> Mapping[str, str]:
    """Say by mail when a password was changed."""
    return {"NOTICES": "password_changed"}
