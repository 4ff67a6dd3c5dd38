"""Settings of the watches of a process."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.watching.settings import WatcherSettings


class WatchSettings(WatcherSettings):
    """How much a process spends on its watchers."""

    watch_max_catch_ups: Annotated[int, Field(ge=1, le=100)] = 4
    """Histories read at once for watchers that resume; each takes a connection, together half of those for calls."""
