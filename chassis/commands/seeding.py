"""The ``seed`` commands of both services: their options, and writing several batches at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from chassis.clock import utc_now
from chassis.settings import ServerSettings

T = TypeVar("T")
S = TypeVar("S", bound=ServerSettings)

# Batches written at once: the server stores some while the next ones are made here.
WRITERS: Final = 3
MOST: Final = 100_000_000


def unhurried(settings: S) -> S:
    """Return the settings without the log of slow statements: one that stores a thousand rows is always slow."""
    return settings.model_copy(update={"slow_query_ms": 0})


async def store_all(batches: Iterator[T], store: Callable[[T], Awaitable[None]]) -> None:
    """Store every batch, WRITERS of them at once; stop at the first failure and raise its error."""

    async def write() -> None:
        for batch in batches:
            await store(batch)

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    try:
        await asyncio.gather(*writers)
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--seed``, ``--as-of`` and ``--append``."""
    for option in (_APPEND, _AS_OF, _SEED):
        command = option(command)
    return command


def _time(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime:
    time = utc_now() if value is None else value.replace(tzinfo=UTC)
    return time.replace(microsecond=0)


_Option = Callable[[Callable[..., Any]], Callable[..., Any]]
_SEED: Final[_Option] = click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed makes up other data."
)
_AS_OF: Final[_Option] = click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    callback=_time,
    help="The time (UTC) at which the data ends; default: now.",
)
_APPEND: Final[_Option] = click.option(
    "--append", is_flag=True, help="Write beside the data that is there; without it, only an empty database is filled."
)
