"""The manifest of a backup: what it holds, when and from where it was taken, and by which version."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME: Final = "manifest.json"
# The first file of the archive: what a restore from a stream must know before the manifest, which comes last.
ABOUT: Final = "about.json"
# Raised when an older version could no longer read what a newer one writes. In format 1 a part was one file.
FORMAT: Final = 2


def _printable(text: str) -> str:
    """Refuse control characters: commands print this text, and a terminal would obey them."""
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _relative(name: str) -> str:
    """Refuse a name that leads out of the folder into which an archive is unpacked."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError("not a name within the archive")
    return name


# Files of one archive: with pieces of 16 MiB, 250 GB of compressed content.
MOST_PARTS: Final = 16_000
_PIECE: Final = re.compile(r"(?P<part>.+?)(?:\.(?P<number>\d{6}))?\.zst", re.DOTALL)

Count = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(max_length=1_000), AfterValidator(_printable)]
# Positions in logs may name many servers.
LongText = Annotated[str, Field(max_length=65_536), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable), AfterValidator(_relative)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """One file of the archive: a small part, or a piece of a compressed one."""

    model_config = ConfigDict(frozen=True)

    name: Name
    """Its name in the archive; `.zst`: compressed."""
    bytes: Count
    """Its size in the archive."""
    content_bytes: Count
    """The size of what it holds, not compressed."""
    sha256: Sha256
    """SHA-256 of it as it is in the archive."""


def piece_name(part: str, number: int) -> str:
    """Return the file of a piece of a part; the pieces' names are in their order, as are ``*`` of a shell."""
    return f"{part}.{number:06d}.zst"


def part_of(file: str) -> tuple[str, int]:
    """Return the part that a file belongs to, and the number of its piece; 1 for a part that is one file."""
    found = _PIECE.fullmatch(file)
    return (found["part"], int(found["number"] or 1)) if found else (file, 1)


class About(BaseModel):
    """What a restore must know of a backup before its first part."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1, 2] = FORMAT
    """Version of the archive's layout."""
    service: Text
    """`users-service` or `notifications-service`."""
    service_version: Text
    """Version of the service that took the backup."""
    schema_revision: Text
    """The last migration that the database had."""


class Source(BaseModel):
    """What was backed up: all that only the service knows."""

    model_config = ConfigDict(frozen=True)

    service: Text
    """`users-service` or `notifications-service`."""
    database: Text
    """The name that the database had."""
    server: Text
    """The database server's name and version."""
    schema_revision: Text
    """The last migration that the database had."""
    taken_at: datetime
    """Everything acknowledged before this time is in the backup; by the clock of the machine that took it."""
    counts: dict[Text, Count]
    """Rows or documents of each table or collection."""
    checksums: dict[Text, Text] = Field(default_factory=dict)
    """What the values of each table or collection add up to, whatever their order; older backups have none."""
    position: dict[Text, LongText] | None
    """Where the server's log stood at the snapshot: what recovery to a point in time starts from; none: not known."""


class Manifest(Source):
    """The whole manifest, as it is written into the archive."""

    format: Literal[1, 2] = FORMAT
    """Version of the archive's layout."""
    service_version: Text
    """Version of the service that took the backup."""
    finished_at: datetime
    """When the archive was complete."""
    parts: Annotated[list[Part], Field(max_length=MOST_PARTS)]
    """The other files of the archive."""
