"""How long a test waits for what must come. Only a fault uses it up: no machine is so busy that it takes that long.

A deadline that a test is about has a name of its own, which says what it stands for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

# Below the time limit of a test (pyproject.toml), so that the test itself can say what it waited for in vain.
PATIENCE_SECONDS: Final = 120.0
# As settings have it.
PATIENCE_MS: Final = round(PATIENCE_SECONDS * 1_000)
# Settings of commands whose connections and statements may take as long.
UNHURRIED: Final = dict.fromkeys(
    (
        "MYSQL_QUERY_TIMEOUT_MS",
        "MONGODB_QUERY_TIMEOUT_MS",
        "MONGODB_SERVER_SELECTION_TIMEOUT_MS",
        "MONGODB_CONNECT_TIMEOUT_MS",
    ),
    str(PATIENCE_MS),
)
LOOK_SECONDS: Final = 0.01


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds; fail when patience is at its end."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(LOOK_SECONDS)


async def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds, while the event loop goes on; fail when patience is at its end."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(LOOK_SECONDS)
