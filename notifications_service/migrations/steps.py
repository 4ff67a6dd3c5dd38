"""The steps that exist: modules ``NNNN_name`` of the package ``migrations.mongodb``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chassis.commands.cli import CommandFailed
from chassis.commands.migrations import place_of
from chassis.logs.tracebacks import summary

PACKAGE: Final = "migrations.mongodb"
_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.py")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,60}")

_TEMPLATE: Final = '''"""{title}.

A step may be cut off in its middle and run again. What a big collection bears is in docs/migrations.md: indexes are
built beside reads and writes (`database.notifications.create_index`), documents are changed in batches
(`migrations.mongodb.backfill.backfill`).
"""

from __future__ import annotations

from typing import Any

from migrations.mongodb.backfill import backfill


async def up(database: Any) -> None:
    raise NotImplementedError


async def down(database: Any) -> None:
    raise NotImplementedError
'''


class StepsUnreadable(CommandFailed):
    """A file of a step is wrong; the text names it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration; ``checksum`` tells whether its file changed after it was applied."""

    number: int
    name: str
    checksum: str
    up: Callable[[Any], Awaitable[None]]
    down: Callable[[Any], Awaitable[None]]

    @property
    def title(self) -> str:
        """Return number and name as in the file's name."""
        return f"{self.number:04d}_{self.name}"


def load() -> tuple[Step, ...]:
    """Return all steps in order. Raises StepsUnreadable, also where a number is missing or occurs twice."""
    files = sorted(path for path in _directory().iterdir() if _FILE.fullmatch(path.name))
    steps = tuple(_step(path) for path in files)
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise StepsUnreadable("the numbers of the migrations must be 0001, 0002, … without a gap")
    return steps


def create(name: str) -> Path:
    """Write the frame of the next step and return its file. Raises ValueError for a name that fits no module."""
    if not _NAME.fullmatch(name):
        raise ValueError("the name takes small letters, digits and underscores, a letter first")
    path = _directory() / f"{len(load()) + 1:04d}_{name}.py"
    path.write_text(_TEMPLATE.format(title=name.replace("_", " ").capitalize()))
    return path


def place_in_steps(error: BaseException) -> str:
    """Return where in the file of a step an exception came from, as `` at 0002_x.py, line 12``; or nothing."""
    return place_of(error, _directory())


def _directory() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StepsUnreadable(f"the package {PACKAGE} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def _step(path: Path) -> Step:
    try:
        module = importlib.import_module(f"{PACKAGE}.{path.stem}")
        up, down = module.up, module.down
    except Exception as error:
        where = place_of(error, path.parent)
        raise StepsUnreadable(f"the step {path.stem} cannot be read{where}: {summary(error)}") from error
    number, name = path.stem.split("_", 1)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return Step(int(number), name, checksum, up, down)
