"""Settings of servers in a test's process, read once for the same values and environment.

Reading them takes as long as all else at the start of a server, and most tests start one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic_settings import BaseSettings

# What pytest tells of itself, which is another in every test.
_OF_PYTEST: Final = "PYTEST_"

T = TypeVar("T", bound=BaseSettings)


def read_once(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return these settings, which nobody changes; raises what reading them raises."""
    environment = tuple(item for item in os.environ.items() if not item[0].startswith(_OF_PYTEST))
    try:
        read: T = _read(kind, tuple(values.items()), environment)
    except TypeError:
        # A value that is no key of a table, such as a list.
        return kind(**values)
    return read


@lru_cache(maxsize=256)
def _read(kind: type[Any], values: tuple[tuple[str, Any], ...], _environment: tuple[tuple[str, str], ...]) -> Any:
    return kind(**dict(values))
