"""Settings of scheduled notifications."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings, Milliseconds


class ScheduleSettings(FeatureSettings):
    """How often the mover looks."""

    schedule_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 500
    """How often to look for scheduled notifications whose time has come."""
