"""Settings of the purge: how often the server purges, and what it keeps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings, Milliseconds


class PurgeSettings(FeatureSettings):
    """How often the server purges, and what it keeps."""

    purge_interval_ms: Milliseconds = 3_600_000
    """How often the server purges; 0: never."""
    purge_keep_days: Annotated[int, Field(ge=0, le=3_650)] = 7
    """How long it keeps what has ended, for audit."""
