"""Settings of servers in a test's process, read once for the same values and environment, whatever the database.

Reading them takes as long as all else at the start of a server, and most tests start one.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic_settings import BaseSettings

# What pytest tells of itself, which is another in every test.
_OF_PYTEST: Final = "PYTEST_"

# Of each test, and of no rule but that it is a text.
_OF_EACH: Final = ("mysql_database",)
_STAND_IN: Final = "database"

T = TypeVar("T", bound=BaseSettings)


def read_once(kind: type[T], values: dict[str, Any]) -> T:
    """Return these settings, which nobody changes; raises what reading them raises."""
    environment = tuple(item for item in os.environ.items() if not item[0].startswith(_OF_PYTEST))
    own = {name: values[name] for name in _OF_EACH if name in values}
    try:
        read: T = _read(kind, tuple((values | dict.fromkeys(own, _STAND_IN)).items()), environment)
    except TypeError:
        # A value that is no key of a table, such as a list.
        return kind(**values)
    return read.model_copy(update=own)


@lru_cache(maxsize=256)
def _read(kind: type[Any], values: tuple[tuple[str, Any], ...], _environment: tuple[tuple[str, str], ...]) -> Any:
    return kind(**dict(values))
