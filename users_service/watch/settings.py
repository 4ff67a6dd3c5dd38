"""Settings of the watches of a process."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import Milliseconds
from chassis.watching.settings import WatcherSettings


class WatchSettings(WatcherSettings):
    """How much a process spends on its watchers."""

    watch_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 250
    """How often a process that has watchers looks for what others committed; of its own commits it hears at once."""
