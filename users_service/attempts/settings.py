"""Settings of the rate limits on attempts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings, Milliseconds


class AttemptSettings(FeatureSettings):
    """How many attempts are allowed, and within which time."""

    attempts_window_ms: Annotated[Milliseconds, Field(ge=1_000)] = 900_000
    """Window in which attempts are counted."""
    attempts_per_account: Annotated[int, Field(ge=1)] = 10
    """Attempts allowed in it per account."""
    attempts_per_address: Annotated[int, Field(ge=1)] = 100
    """Attempts allowed in it per client address."""
