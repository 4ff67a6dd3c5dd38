"""Runs hashing in threads: at most so many at once, at most so many waiting, never on the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from users_service.errors import PasswordHashingBusy

T = TypeVar("T")


# Linux has priorities of threads: the event loop, which all other calls wait for, goes before the hashes.
NICENESS: Final = 5


class HashingPool:
    """A bounded pool for work that takes tens of milliseconds of a core and releases the GIL."""

    def __init__(self, threads: int, queue: int) -> None:
        """``threads``: at once, 0 for one per core; ``queue``: how many may wait for a thread."""
        self.threads = threads or os.cpu_count() or 1
        self.queue = queue
        self._free = asyncio.Semaphore(self.threads)
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="hashing", initializer=_yield_to_others)
        self._waiting = 0
        self._running = 0

    @property
    def running(self) -> int:
        """How many threads are at work now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many callers wait for a thread now."""
        return self._waiting

    def ensure_room(self) -> None:
        """Raise PasswordHashingBusy where ``run`` would, so that a caller can find out before it acts."""
        if self._free.locked() and self._waiting >= self.queue:
            raise PasswordHashingBusy

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what ``work`` returns; raise PasswordHashingBusy when too many wait.

        A caller that is cancelled while it waits gives up its place at once. Work that has begun cannot be
        stopped, so its thread counts as taken until it ends.
        """
        self.ensure_room()
        await self._wait()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
        except BaseException:
            self._free.release()
            raise
        self._running += 1
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._running -= 1
        self._free.release()
        # Whoever waited may be gone; asking for the error keeps asyncio from reporting it as lost.
        if not future.cancelled():
            future.exception()

    def close(self) -> None:
        """Take no more work and end the threads after what they are doing."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
