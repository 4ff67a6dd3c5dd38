"""Time zones: those of the IANA database as the package ``tzdata`` has it, the same on every machine."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

UTC: Final = "UTC"


@cache
def names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset((resources.files("tzdata") / "zones").read_text("utf-8").split())


def zone(name: str) -> ZoneInfo:
    """Return a time zone; UTC where the name is empty, or one that this version of the database does not have."""
    return _read(name if name in names() else UTC)


@cache
def _read(name: str) -> ZoneInfo:
    with (resources.files("tzdata.zoneinfo") / name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
