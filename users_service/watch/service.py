"""WatchUsers: admits watchers and runs their sessions."""

from __future__ import annotations

from vibework.users.v1 import user_service_pb2 as pb

from chassis.watching.admission import WatcherAdmission
from chassis.watching.heartbeats import interval_of
from users_service.watch.limits import WatchLimits
from users_service.watch.session import Sources, WatchSession, WriteResponse
from users_service.watch.tokens import ResumeTokens
from users_service.watch.watcher import Watcher


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
        """For how many seconds the database could not be looked at."""
        return self._sources.hub.lag

    async def watch_users(self, request: pb.WatchUsersRequest, write: WriteResponse) -> None:
        """Write the events of one watch until its caller goes.

        Raises ResumeTokenInvalid, ResumeTokenExpired, TooManyWatchers, WatcherTooSlow, WatchInterrupted, ShuttingDown,
        DatabaseUnavailable.
        """
        place = self._tokens.read(request.resume_token) if request.resume_token else None
        watcher = Watcher(self._queue, request.kinds)
        write = self._admission.guarded(write, watcher)
        with self._admission.admitted(watcher):
            await self._sources.hub.join(watcher)
            session = WatchSession(self._sources, watcher, interval_of(request), write)
            if place is not None:
                session.start_after(place)
            await session.run()
