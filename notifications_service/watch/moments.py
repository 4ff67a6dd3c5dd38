"""Reads at one cluster time (read concern "snapshot"): all of what was committed by then, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bson import Timestamp
from pymongo.errors import OperationFailure

from chassis.watching.errors import WatchInterrupted
from notifications_service.mongodb.codec import Document

T = TypeVar("T")

BEGINNING: Final = Timestamp(0, 0)
# The database no longer keeps that cluster time: the read began minutes later.
_TOO_OLD: Final = 239
# The collection was just altered by a migration, so there is no cluster time to read at yet.
_NOT_YET: Final = 246
_ATTEMPTS: Final = 20
_PAUSE: Final = 0.05


async def repeated(read: Callable[[], Awaitable[T]]) -> T:
    """Carry out a read, again while the collection has no cluster time yet. Raises ``WatchInterrupted``."""
    for _ in range(_ATTEMPTS):
        try:
            return await read()
        except OperationFailure as error:
            if error.code == _TOO_OLD:
                raise WatchInterrupted from None
            if error.code != _NOT_YET:
                raise
        await asyncio.sleep(_PAUSE)
    raise WatchInterrupted


def concern(*, after: Timestamp | None = None, at: Timestamp | None = None) -> Document:
    """Return the read concern of a read at a cluster time, or at one that is not before another."""
    found: Document = {"level": "snapshot"}
    if after is not None and after != BEGINNING:
        found["afterClusterTime"] = after
    if at is not None:
        found["atClusterTime"] = at
    return found


def at_of(cursor: Document) -> Timestamp:
    """Return the cluster time that a read took place at."""
    at: Timestamp = cursor["atClusterTime"]
    return at
