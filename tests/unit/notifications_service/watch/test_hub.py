"""The hub, on change streams that a test makes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from bson import ObjectId, Timestamp
from pymongo.errors import AutoReconnect
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.errors import DatabaseUnavailable, ServiceError, ShuttingDown
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from notifications_service.notification.filters import Filter
from notifications_service.watch import changes
from notifications_service.watch.changes import ChangeEvent, ChangeKind, HistoryLost, StreamPosition
from notifications_service.watch.hub import Hub
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.settings import WatchSettings
from notifications_service.watch.watcher import Event, Watcher
from tests.harness.clocks import stored_now
from tests.harness.patience import until

_SETTINGS: Final = WatchSettings()
LIMITS: Final = WatchLimits.of(_SETTINGS, catch_ups=_SETTINGS.watch_max_catch_ups)

START = Timestamp(1, 0)


class Script:
    """Change streams that bring what the test puts in: changes, or errors to raise."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[ChangeEvent | Exception] = asyncio.Queue()
        self.opened_after: list[StreamPosition] = []
        self.closed = 0
        self.position = StreamPosition("")
        self.converted: list[ChangeEvent] = []

    async def now(self) -> Timestamp:
        """Return the time of the database."""
        return START

    @asynccontextmanager
    async def open(self, after: StreamPosition) -> AsyncIterator[Any]:
        """Stand in for a change stream."""
        self.opened_after.append(after)
        self.position = after
        try:
            yield self
        finally:
            self.closed += 1

    async def next(self) -> tuple[ChangeEvent, ...]:
        """Bring the next item."""
        item = await self.items.get()
        if isinstance(item, Exception):
            raise item
        self.position = item.position
        return (item,)

    def convert(self, change: ChangeEvent, _: Filter) -> Event:
        """Note what was converted."""
        self.converted.append(change)
        return Event(change.position, change.at, pb.WatchNotificationsResponse())


def change(number: int, user_id: str = "u") -> ChangeEvent:
    """Return a change at a time of its own."""
    at = Timestamp(2, number)
    return ChangeEvent(changes.before(at), at, ChangeKind.DELETED, ObjectId(), user_id, None)


@pytest.fixture
def script() -> Script:
    """The streams of one test."""
    return Script()


@pytest.fixture
async def make(script: Script) -> AsyncIterator[Callable[..., Hub]]:
    """Make hubs on the script; they are closed at the end."""
    hubs = []

    def hub(limits: WatchLimits | None = None, draining: asyncio.Event | None = None, convert: Any = None) -> Hub:
        made = Hub(
            script.open,
            script.now,
            convert or script.convert,
            limits or LIMITS,
            draining or asyncio.Event(),
            clock=stored_now,
        )
        hubs.append(made)
        return made

    yield hub
    for made in hubs:
        await made.close()


async def joined(hub: Hub, user_id: str = "u", limit: int = 10) -> Watcher:
    """Return a watcher that has joined."""
    watcher = Watcher(user_id, limit)
    await hub.join(watcher)
    return watcher


async def position(watcher: Watcher) -> StreamPosition:
    """Return the position of the next event."""
    event = await watcher.next(5)
    assert event is not None
    return event.position


async def ending(watcher: Watcher) -> type[ServiceError]:
    """Return what ends a watcher."""
    with pytest.raises(ServiceError) as ended:
        await watcher.next(5)
    return type(ended.value)


async def test_a_change_is_converted_once_and_goes_to_its_user_only(script: Script, make: Any) -> None:
    """Watchers of one user share an event; changes that nobody watches are not converted at all."""
    hub = make()
    one, two, other = await joined(hub), await joined(hub), await joined(hub, "other")
    for number, user_id in enumerate(("nobody", "u", "other")):
        script.items.put_nowait(change(number, user_id))
    assert await position(one) == await position(two) == change(1).position
    assert await position(other) == change(2).position
    assert [item.user_id for item in script.converted] == ["u", "other"]


async def test_the_stream_goes_on_after_an_error_where_it_was(script: Script, make: Any) -> None:
    """A lost connection is no end: the stream is opened again after the last change handed on."""
    watcher = await joined(make())
    for item in (change(1), AutoReconnect("lost"), TimeoutError(), change(2)):
        script.items.put_nowait(item)
    assert [await position(watcher), await position(watcher)] == [change(1).position, change(2).position]
    assert script.opened_after == [changes.before(START), change(1).position, change(1).position]


async def test_lost_history_ends_every_watch_and_a_new_one_begins_now(script: Script, make: Any) -> None:
    """Nobody is left to believe that nothing happened."""
    hub = make()
    watchers = [await joined(hub), await joined(hub, "other")]
    script.items.put_nowait(change(1))
    assert await position(watchers[0]) == change(1).position
    script.items.put_nowait(HistoryLost("gone"))
    assert [await ending(watcher) for watcher in watchers] == [ResumeTokenExpired, ResumeTokenExpired]
    anew = await joined(hub)
    assert anew.joined_at == changes.before(START)
    script.items.put_nowait(change(2))
    assert await position(anew) == change(2).position


async def test_a_defect_ends_every_watch_instead_of_leaving_it_waiting(script: Script, make: Any) -> None:
    """An error that nobody foresaw is not swallowed: watchers are told to watch again, and the next ones can."""

    def defective(_: ChangeEvent, __: Filter) -> Event:
        raise ZeroDivisionError

    hub = make(convert=defective)
    watcher = await joined(hub)
    script.items.put_nowait(change(1))
    assert await ending(watcher) is WatchInterrupted
    assert (await joined(hub)).joined_at == changes.before(START)


async def test_a_drain_ends_watches_and_takes_no_new_ones(make: Any) -> None:
    """Once the server drains, open watches end at once and later ones are refused."""
    draining = asyncio.Event()
    hub = make(draining=draining)
    watcher = await joined(hub)
    draining.set()
    assert await ending(watcher) is ShuttingDown
    with pytest.raises(ShuttingDown):
        await joined(hub)


async def test_a_watcher_that_is_behind_gets_nothing_until_it_joins_again(script: Script, make: Any) -> None:
    """It joins at the position reached, and gets what comes after."""
    hub = make()
    slow, quick = await joined(hub, limit=1), await joined(hub)
    for number in (1, 2, 3):
        script.items.put_nowait(change(number))
    for number in (1, 2, 3):
        assert await position(quick) == change(number).position
    assert slow.behind
    assert await position(slow) == change(1).position
    await hub.join(slow)
    assert slow.joined_at == change(3).position
    script.items.put_nowait(change(4))
    assert await position(slow) == change(4).position


async def test_the_stream_closes_after_the_last_watcher_and_opens_for_the_next(script: Script, make: Any) -> None:
    """A process that nobody watches reads no changes."""
    hub = make(replace(LIMITS, linger=0.01))
    watcher = await joined(hub)
    await asyncio.sleep(0)
    hub.leave(watcher)
    await until(lambda: script.closed == 1, "the end of the stream")
    assert (script.closed, hub.position) == (1, None)
    again = await joined(hub)
    script.items.put_nowait(change(1))
    assert await position(again) == change(1).position


async def test_a_watcher_in_time_keeps_the_stream_open(script: Script, make: Any) -> None:
    """Who comes back soon finds the stream as it was."""
    hub = make(replace(LIMITS, linger=0.5))
    watcher = await joined(hub)
    hub.leave(watcher)
    again = await joined(hub)
    await asyncio.sleep(0.6)
    assert script.closed == 0
    script.items.put_nowait(change(1))
    assert await position(again) == change(1).position


async def test_one_that_leaves_while_another_joins_does_not_close_the_stream(script: Script, make: Any) -> None:
    """The stream of those who stay is not closed under them."""
    hub = make(replace(LIMITS, linger=0.02))
    staying = Watcher("u", 10)
    joining = asyncio.create_task(hub.join(staying))
    await asyncio.sleep(0)
    hub.leave(Watcher("u", 10))
    await joining
    await asyncio.sleep(0.06)
    script.items.put_nowait(change(1))
    assert await position(staying) == change(1).position


async def test_without_a_database_a_watch_is_refused_in_time(make: Any, script: Script) -> None:
    """Where the stream does not stand in time, the caller is told that the database is away."""

    async def away() -> Timestamp:
        raise DatabaseUnavailable

    script.now = away  # type: ignore[method-assign]
    with pytest.raises(DatabaseUnavailable):
        await joined(make(replace(LIMITS, start=0.1)))


async def test_a_burst_lets_readers_have_their_turn(script: Script, make: Any) -> None:
    """What has arrived already is handed on without waiting, yet readers run in between."""
    watcher = await joined(make(), limit=64)
    burst = [change(number) for number in range(1, 500)]
    for item in burst:
        script.items.put_nowait(item)
    assert [await position(watcher) for _ in burst] == [item.position for item in burst]
    assert not watcher.behind


@pytest.mark.long
async def test_a_long_outage_ends_watches_and_refuses_new_ones_until_it_is_over(script: Script, make: Any) -> None:
    """A stream that stays away is not covered up with heartbeats: callers are told, and may try another process."""
    hub = make(replace(LIMITS, outage=0.2))
    watcher = await joined(hub)
    opening = script.open

    def broken(_: StreamPosition) -> Any:
        raise AutoReconnect("away")

    script.items.put_nowait(AutoReconnect("lost"))
    hub._open = broken
    assert await ending(watcher) is WatchInterrupted
    hub._limits = replace(LIMITS, start=0.1)
    with pytest.raises(DatabaseUnavailable):
        await joined(hub)
    hub._open = opening
    hub._limits = LIMITS
    again = await joined(hub)
    script.items.put_nowait(change(1))
    assert await position(again) == change(1).position
