"""The registry of a process's metrics: its parts add collectors, and all are read together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from chassis.errors import ServiceError
from chassis.logs import logging
from chassis.telemetry.families import Collect, CollectAsync, Family

# Seconds that a collector may take to ask a database; without an answer its metrics are absent.
PATIENCE: Final = 1.0


class Registry:
    """Collectors, asked in the order in which they were added."""

    def __init__(self) -> None:
        self._collectors: list[Collect] = []
        self._asking: list[CollectAsync] = []

    def add(self, collect: Collect) -> None:
        """Call ``collect`` whenever metrics are read; it only reads memory."""
        self._collectors.append(collect)

    def add_asking(self, collect: CollectAsync) -> None:
        """Iterate ``collect`` whenever metrics are read; it may take a second, and may raise a ServiceError."""
        self._asking.append(collect)

    async def collect(self, *, asking: bool = True) -> AsyncIterator[Family]:
        """Yield all metrics; other work of the loop gets a turn between any two.

        ``asking``: also those that are read from a database.
        """
        for collect in self._collectors:
            for family in collect():
                yield family
                await asyncio.sleep(0)
        for ask in self._asking if asking else ():
            for family in await _answers(ask):
                yield family


async def _answers(collect: CollectAsync) -> list[Family]:
    try:
        async with asyncio.timeout(PATIENCE):
            return [family async for family in collect()]
    except (ServiceError, TimeoutError) as error:
        logging.get(__name__).info("metrics left out", kind=type(error).__name__)
        return []
