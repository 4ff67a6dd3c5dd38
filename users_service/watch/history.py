"""The history of users' events: what follows a place, a bounded part at a time.

It is for watchers that resume or fell behind. Those that ask at the same time, from places near to each other, share a
read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from chassis.batching.coalesce import Coalescer
from chassis.logs import logging
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from users_service.events.model import Place, PlaceLost, Stretch, UserEvent
from users_service.events.sequencer import Sequencer

# Events of one part.
PART: Final = 256
_SHARING: Final = 500
_SECONDS: Final = 60.0

log = logging.get(__name__)


class History:
    """Reads histories; nothing is held in the database while a caller takes its events."""

    def __init__(self, sequencer: Sequencer, size: int = PART) -> None:
        """``size``: events of one part."""
        self._sequencer = sequencer
        self._size = size
        self._reads: Coalescer[Place, Sequence[UserEvent]] = Coalescer(
            self._fetch, max_batch=_SHARING, max_in_flight=1, timeout=_SECONDS, timed_out=WatchInterrupted
        )

    async def after(self, place: Place) -> Sequence[UserEvent]:
        """Return the next events after a place, at most a part of them; none where it is the last.

        Raises ResumeTokenExpired where what followed the place is not known any more, DatabaseUnavailable and the like.
        """
        return await self._reads.get(place) or ()

    async def _fetch(self, places: list[Place]) -> dict[Place, Sequence[UserEvent] | Exception]:
        found: dict[Place, Sequence[UserEvent] | Exception] = {}
        for group in near(places, self._size // 2):
            # One more than a part: the event of the place itself comes with them.
            stretch = await self._sequencer.following(group[0], self._size + 1)
            found |= {place: _after_or_error(stretch, place) for place in group}
        return found


def near(places: Sequence[Place], reach: int) -> Iterator[list[Place]]:
    """Yield groups of places, each with those that lie at most ``reach`` after its first one."""
    group: list[Place] = []
    for place in sorted(places, key=lambda each: each.seq):
        if group and place.seq > group[0].seq + reach:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _after_or_error(stretch: Stretch, place: Place) -> Sequence[UserEvent] | Exception:
    try:
        return after(stretch, place)
    except PlaceLost as lost:
        log.info("a watch cannot resume", problem=str(lost))
        return ResumeTokenExpired()


def after(stretch: Stretch, place: Place) -> Sequence[UserEvent]:
    """Return the events of a stretch that follow a place. Raises PlaceLost unless they all are there."""
    if place.epoch != stretch.epoch or place.seq < stretch.purged:
        raise PlaceLost("it is of another history, or what followed it was purged")
    events = [event for event in stretch.events if event.place.seq >= place.seq]
    if events and events[0].place.seq == place.seq:
        if events[0].place.contradicts(place):
            raise PlaceLost("another event has its number")
        events = events[1:]
    elif place.seq not in (stretch.purged, 0):
        raise PlaceLost("its event is missing")
    if any(event.place.seq != place.seq + number for number, event in enumerate(events, start=1)):
        raise PlaceLost("an event is missing")
    return events
