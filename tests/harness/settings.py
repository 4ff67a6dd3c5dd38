"""Settings of servers in a test's process, read once for the same values and environment, whatever the database.

Reading them takes as long as all else at the start of a server, and most tests start one.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic_settings import BaseSettings

from tests.harness.databases import OWN_PREFIX

# What pytest tells of itself, which is another in every test.
_OF_PYTEST: Final = "PYTEST_"

# Each test has a database of its own, and of its name there is no rule but that it is one (tests/harness/databases.py).
_NAMING: Final = ("mysql_database", "mongodb_url")
_OWN: Final = re.compile(rf"{OWN_PREFIX}\w+")

T = TypeVar("T", bound=BaseSettings)


def read_once(kind: type[T], values: dict[str, Any]) -> T:
    """Return these settings, which nobody changes; raises what reading them raises."""
    environment = tuple(item for item in os.environ.items() if not item[0].startswith(_OF_PYTEST))
    own = {name: values[name] for name in _NAMING if name in values and _OWN.search(values[name])}
    shared = {name: _OWN.sub(OWN_PREFIX, value) for name, value in own.items()}
    try:
        read: T = _read(kind, tuple((values | shared).items()), environment)
    except TypeError:
        # A value that is no key of a table, such as a list.
        return kind(**values)
    return read.model_copy(update={name: type(getattr(read, name))(value) for name, value in own.items()})


@lru_cache(maxsize=256)
def _read(kind: type[Any], values: tuple[tuple[str, Any], ...], _environment: tuple[tuple[str, str], ...]) -> Any:
    return kind(**dict(values))
