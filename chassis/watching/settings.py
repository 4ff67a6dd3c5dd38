"""Settings of the watches of a process, whatever they watch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings, Milliseconds


class WatcherSettings(FeatureSettings):
    """How much a process spends on its watchers."""

    watch_max_watchers: Annotated[int, Field(ge=1)] = 5_000
    """Watchers of one process."""
    watch_queue_events: Annotated[int, Field(ge=1)] = 256
    """Events that wait for one watcher in memory."""
    watch_patience_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long a watcher whose queue ran over may leave a single event untaken."""
    watch_untaken_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """How long any other may: then it reads nothing at all."""
    watch_outage_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """How long the database may be away before watchers are told to try elsewhere."""
