"""Admission of watchers: how many a process takes, and what frees the place of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from chassis.context import calls
from chassis.errors import ServiceError
from chassis.watching.errors import TooManyWatchers
from chassis.watching.limits import WatcherLimits
from chassis.watching.stalls import Stalls, WriteEvent
from chassis.watching.watcher import QueuedWatcher

W = TypeVar("W", bound=QueuedWatcher[Any])


class WatcherAdmission(Generic[W]):
    """The watchers of a process that are open."""

    def __init__(self, limits: WatcherLimits, leave: Callable[[W], None]) -> None:
        """``leave``: takes a watcher out of the hub."""
        self.limit = limits.watchers
        self._leave_hub = leave
        self._stalls = Stalls(limits)
        self._open: set[W] = set()

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._open)

    @contextmanager
    def admitted(self, watcher: W) -> Iterator[None]:
        """Give a watcher a place for as long as the context lasts. Raises TooManyWatchers."""
        if len(self._open) >= self.limit:
            raise TooManyWatchers
        self._open.add(watcher)
        try:
            yield
        finally:
            self._leave(watcher)

    def guarded(self, write: WriteEvent, watcher: W) -> WriteEvent:
        """Return the ``write`` of the current call, which ends the watch of one that takes nothing for too long."""
        return self._stalls.guarded(calls.noting_writes(write), watcher, self._giving_up(watcher))

    def _leave(self, watcher: W) -> None:
        """Free the place of a watcher, also where its call still waits for its caller."""
        self._open.discard(watcher)
        self._leave_hub(watcher)

    def _giving_up(self, watcher: W) -> Callable[[ServiceError], None]:
        call = calls.current()

        def give_up(error: ServiceError) -> None:
            self._leave(watcher)
            if call is not None and call.ending is not None:
                call.ending(error)

        return give_up
