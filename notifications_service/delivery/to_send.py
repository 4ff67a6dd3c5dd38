"""Deliveries that a worker has taken and not sent yet, of all its batches: by this it knows when to take more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class ToSend:
    """Deliveries that are still to be judged and sent, by their lease; what is only to be recorded is none of them."""

    def __init__(self) -> None:
        self._keys: dict[str, set[str]] = {}
        self._fewer = asyncio.Event()

    def put(self, lease: str, keys: Iterable[str]) -> None:
        """Count these of a lease, and no others."""
        self._keys[lease] = set(keys)
        self._fewer.set()

    def remove(self, lease: str, key: str) -> None:
        """Count one no more."""
        self._keys[lease].discard(key)
        self._fewer.set()

    def remove_all(self, lease: str) -> None:
        """Count none of a lease any more."""
        del self._keys[lease]
        self._fewer.set()

    async def at_most(self, number: int) -> None:
        """Wait until there are so few."""
        while sum(map(len, self._keys.values())) > number:
            self._fewer.clear()
            await self._fewer.wait()
