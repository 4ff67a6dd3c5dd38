"""The manifest of a backup: what it holds, when and from where it was taken, and by which version."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME: Final = "manifest.json"
# Raised when an older version could no longer read what a newer one writes.
FORMAT: Final = 1

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """One file of the archive."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Its name in the archive; `.zst`: compressed."""
    bytes: Count
    """Its size in the archive."""
    content_bytes: Count
    """The size of what it holds, not compressed."""
    sha256: Sha256
    """SHA-256 of it as it is in the archive."""


class Source(BaseModel):
    """What was backed up: all that only the service knows."""

    model_config = ConfigDict(frozen=True)

    service: str
    """`users-service` or `notifications-service`."""
    database: str
    """The name that the database had."""
    server: str
    """The database server's name and version."""
    schema_revision: str
    """The last migration that the database had."""
    taken_at: datetime
    """Everything acknowledged before this time is in the backup; by the clock of the machine that took it."""
    counts: dict[str, Count]
    """Rows or documents of each table or collection."""
    position: dict[str, str] | None
    """Where the server's log stood at the snapshot: what recovery to a point in time starts from; none: not known."""


class Manifest(Source):
    """The whole of it."""

    format: Literal[1] = FORMAT
    """Version of the archive's layout."""
    service_version: str
    """Version of the service that took the backup."""
    finished_at: datetime
    """When all was written."""
    parts: list[Part]
    """The other files of the archive."""
