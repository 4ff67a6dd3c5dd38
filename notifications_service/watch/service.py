"""WatchNotifications: admits watchers and runs their sessions."""

from __future__ import annotations

from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.watching.admission import WatcherAdmission
from chassis.watching.heartbeats import interval_of
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.requests import filter_of
from notifications_service.watch.session import Sources, WatchSession, WriteResponse
from notifications_service.watch.tokens import ResumeTokens
from notifications_service.watch.watcher import Watcher


class WatchService:
    """The watches of one process."""

    def __init__(self, sources: Sources, tokens: ResumeTokens, limits: WatchLimits) -> None:
        self._sources = sources
        self._tokens = tokens
        self._queue = limits.queue
        self._admission: WatcherAdmission[Watcher] = WatcherAdmission(limits, sources.hub.leave)

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return self._admission.watchers

    @property
    def limit(self) -> int:
        """How many may be open at once."""
        return self._admission.limit

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
        watcher = Watcher(request.user_id, self._queue, chosen)
        write = self._admission.guarded(write, watcher)
        session = WatchSession(self._sources, watcher, interval_of(request), write, counting=request.include_counts)
        with self._admission.admitted(watcher):
            await self._sources.hub.join(watcher)
            if place is not None:
                session.start_after(place)
            elif start == "snapshot":
                await session.start_with_snapshot(request.snapshot.limit)
            else:
                await session.start_now()
            await session.run()
