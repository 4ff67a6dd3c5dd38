"""WatchNotifications: admits watchers and runs their sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.context import calls
from chassis.errors import ServiceError
from notifications_service.watch.errors import TooManyWatchers
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.requests import filter_of, interval_of
from notifications_service.watch.session import Sources, WatchSession, WriteResponse
from notifications_service.watch.stalls import Stalls
from notifications_service.watch.tokens import ResumeTokens
from notifications_service.watch.watcher import Watcher


class WatchService:
    """The watches of one process."""

    def __init__(self, sources: Sources, tokens: ResumeTokens, limits: WatchLimits) -> None:
        self._sources = sources
        self._tokens = tokens
        self._limits = limits
        self._stalls = Stalls(limits)
        self._open: set[Watcher] = set()

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._open)

    @property
    def limit(self) -> int:
        """How many may be open at once."""
        return self._limits.watchers

    @property
    def lag(self) -> float:
        """How far the shared stream is behind, in seconds."""
        return self._sources.hub.lag

    async def watch(self, request: pb.WatchNotificationsRequest, write: WriteResponse) -> None:
        """Write the events of one watch until its caller goes.

        Raises ResumeTokenInvalid, ResumeTokenExpired, TooManyWatchers, WatcherTooSlow, WatchInterrupted,
        ShuttingDown, DatabaseUnavailable.
        """
        start = request.WhichOneof("start")
        chosen = filter_of(request.filter)
        place = self._tokens.read(request.user_id, request.resume_token, chosen) if start == "resume_token" else None
        watcher = Watcher(request.user_id, self._limits.queue, chosen)
        write = self._stalls.guarded(calls.noting_writes(write), watcher, self._giving_up(watcher))
        session = WatchSession(self._sources, watcher, interval_of(request), write, counting=request.include_counts)
        with self._admitted(watcher):
            await self._sources.hub.join(watcher)
            if place is not None:
                session.start_after(place)
            elif start == "snapshot":
                await session.start_with_snapshot(request.snapshot.limit)
            else:
                await session.start_now()
            await session.run()

    @contextmanager
    def _admitted(self, watcher: Watcher) -> Iterator[None]:
        if len(self._open) >= self._limits.watchers:
            raise TooManyWatchers
        self._open.add(watcher)
        try:
            yield
        finally:
            self._leave(watcher)

    def _leave(self, watcher: Watcher) -> None:
        """Free the place of a watcher, also where its call still waits for its caller."""
        self._open.discard(watcher)
        self._sources.hub.leave(watcher)

    def _giving_up(self, watcher: Watcher) -> Callable[[ServiceError], None]:
        call = calls.current()

        def give_up(error: ServiceError) -> None:
            self._leave(watcher)
            if call is not None and call.ending is not None:
                call.ending(error)

        return give_up
