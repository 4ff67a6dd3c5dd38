"""Revisions of the schema that this version has, by their file names: the servers do not import Alembic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import migrations.mysql

_FILE: Final = re.compile(r"(\d{4})_\w+\.py")


def directory() -> Path:
    """Return the folder that Alembic works in; the revisions are in its folder ``versions``."""
    return Path(next(iter(migrations.mysql.__path__)))


def numbers() -> tuple[str, ...]:
    """Return the numbers of all revisions, oldest first."""
    found = (_FILE.fullmatch(path.name) for path in (directory() / "versions").iterdir())
    return tuple(sorted(match[1] for match in found if match))
