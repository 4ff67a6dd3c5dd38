"""Settings of the retention of notifications."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings


class RetentionSettings(FeatureSettings):
    """How long a notification is kept."""

    notifications_retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long a notification is kept; applied by `migrate up`, which keeps what a database has where this is not set;
    read from the database by `serve`."""
