"""``script/fault --storm``: callers who leave in crowds, of every RPC of both services; then others, who all stay.

``tests/fault/*/test_storm.py`` have a service each, in the test's process, and callers of both kinds at once. Here both
run as processes beside each other, and what is left when all have gone is asked of them and of both databases.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb

from script.local.progress import step
from tests.fuzzing import rows
from tests.fuzzing.command import own_services
from tests.fuzzing.running import Callers, callers
from tests.fuzzing.services import Running, Service
from tests.harness.left_open import cursors_left, lock_everything, no_transaction_is_open, transactions_left
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.storm import Rpc, call, leave
from tests.harness.users import Stubs

IN_FLIGHT: Final = 64
# Calls that share rows, after which others are made.
OF_ROWS: Final = 5_000
CALLS, WATCHES, NORMAL = 100_000, 10_000, 10_000
# What a caller does who stays: calls of one nonce.
STEPS: Final = 6
# How long after the last call anything may still be in flight.
QUIET_SECONDS: Final = 60.0
_WATCHES: Final = frozenset({"WatchUsers", "WatchNotifications"})
# Pools that calls take connections from; those of probes and metrics are never idle.
_POOLS: Final = ("points", "transactions", "calls")


@dataclass
class Weathered:
    """What came of a storm: calls that were left, watches that were, and calls that stayed; and what must not be."""

    left: int = 0
    watches: int = 0
    stayed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)


def weather(there: Running, calls: int, watches: int, normal: int, seed: int = 1) -> Weathered:
    """Let so many calls be left, and so many watches; then make so many normal calls, and look at what is left."""
    found, begun = Weathered(), time.monotonic()
    before = [service.resident() for service in there.services]
    asyncio.run(_weather(there, (calls, watches, normal), seed, found))
    found.problems += left_over(there)
    for service, at_first in zip(there.services, before, strict=True):
        now, peak = service.resident(), service.peak()
        found.memory.append(f"memory of {service.name}: {at_first:.0f} MiB before, {now:.0f} after, {peak:.0f} at most")
    found.seconds = time.monotonic() - begun
    return found


async def _weather(there: Running, numbers: tuple[int, int, int], seed: int, found: Weathered) -> None:
    calls, watches, normal = numbers
    async with callers(there) as channels:
        for start in range(0, calls, OF_ROWS):
            part = range(start, min(calls, start + OF_ROWS))
            known = await rows.make(channels.users[0], channels.notifications[0], f"{seed}-{start}")
            await _each(part, lambda number, known=known: _left(channels, known.rpcs, number))  # type: ignore[misc]
            found.left += len(part)
        known = await rows.make(channels.users[0], channels.notifications[0], f"{seed}-watches")
        streams = [rpc for rpc in known.rpcs if rpc.method.name in _WATCHES]
        await _each(range(watches), lambda number: _watched(channels, streams, number))
        found.watches = watches
        stayed = _Staying(channels, seed)
        await _each(range(normal // STEPS), stayed.calls)
        found.stayed = stayed.made
        found.problems += stayed.problems


async def _each(numbers: Sequence[int], work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Do something for each number, ``IN_FLIGHT`` at once."""
    todo = iter(numbers)

    async def caller() -> None:
        for number in todo:
            await work(number)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))


async def _left(channels: Callers, rpcs: Sequence[Rpc], number: int) -> None:
    rpc = rpcs[number % len(rpcs)]
    # By another number than that of the RPC, so that each has callers who leave in both ways.
    await leave(channels.of(rpc.path.removeprefix("/"), number), rpc, number // len(rpcs))


async def _watched(channels: Callers, streams: Sequence[Rpc], number: int) -> None:
    """Open a watch and leave it: at once, or when it has said something."""
    rpc = streams[number % len(streams)]
    channel = channels.of(rpc.path.removeprefix("/"), number)
    if number % 3:
        await leave(channel, rpc, number // 3)
    else:
        await call(channel, rpc, rpc.fresh(), Random(number).uniform(0.001, 0.2))


class _Staying:
    """Callers who stay: each answer has the nonce of its own caller, and nobody else's."""

    def __init__(self, channels: Callers, seed: int) -> None:
        self.made = 0
        self.problems: list[str] = []
        self._seed = seed
        self._users = itertools.cycle([Stubs.on(channel) for channel in channels.users])
        feeds: list[Any] = [NotificationServiceStub(channel) for channel in channels.notifications]
        self._feeds = itertools.cycle(feeds)

    async def calls(self, number: int) -> None:
        """Make ``STEPS`` calls about one nonce."""
        nonce = f"nonce-{self._seed}-{number}"
        try:
            for wanted, got in await self._answers(nonce):
                if wanted != got:
                    self.problems.append(f"{nonce}: {got!r} was answered in place of {wanted!r}")
        except grpc.aio.AioRpcError as error:
            self.problems.append(f"{nonce}: {error.code().name}: {error.details()}")

    async def _answers(self, nonce: str) -> list[tuple[Any, Any]]:
        """Return what was to be answered, and what was."""
        stubs, feed, seconds = next(self._users), next(self._feeds), PATIENCE_SECONDS
        wanted = users_pb.CreateUserRequest(email=f"{nonce}@example.com", name=nonce)
        user = (made := (await stubs.users.CreateUser(wanted, timeout=seconds)).user).id
        read = await stubs.users.GetUser(users_pb.GetUserRequest(id=user), timeout=seconds)
        opened = await stubs.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user), timeout=seconds)
        shown = sessions_pb.ValidateSessionRequest(session_token=opened.session_token, include_user=True)
        validated = await stubs.sessions.ValidateSession(shown, timeout=seconds)
        content = notification_pb2.NotificationContent(
            title=nonce, message="x", type=notification_pb2.NOTIFICATION_TYPE_IN_APP
        )
        told = feed_pb.CreateNotificationRequest(user_id=user, content=content)
        created = await feed.CreateNotification(told, timeout=seconds)
        listed = await feed.ListNotifications(feed_pb.ListNotificationsRequest(user_id=user), timeout=seconds)
        self.made += STEPS
        return [
            (nonce, made.name),
            ((user, nonce), (read.user.id, read.user.name)),
            (user, opened.session.user_id),
            ((opened.session.id, nonce), (validated.session.id, validated.user.name)),
            ((user, nonce), (created.notification.user_id, created.notification.title)),
            ([nonce], [each.title for each in listed.notifications]),
        ]


def left_over(there: Running) -> Iterator[str]:
    """Yield what services and databases still hold a while after the last call."""
    for service in there.services:
        if service.side.has_ended():
            yield f"{service.name} died"
            return
        if busy := _until_empty(lambda service=service: _busy(service)):  # type: ignore[misc]
            yield f"{service.name} is not idle: {busy}"
        if restarts := service.scrape().value("vibework_listener_restarts_total"):
            yield f"{service.name}: {restarts:.0f} listeners died"
    if transactions := _until_empty(lambda: transactions_left(there.pair.mysql)):
        yield f"{transactions} transactions are open in MySQL"
    lock_everything(there.pair.mysql)
    no_transaction_is_open(there.pair.mongodb)
    if cursors := _until_empty(lambda: cursors_left(there.pair.mongodb)):
        yield f"cursors are open in MongoDB: {cursors}"


def _busy(service: Service) -> dict[str, float]:
    """Return the gauges of a service that an idle one has at 0."""
    gauges: Counter[str] = Counter()
    for (name, labels), value in service.scrape().samples.items():
        pool = dict(labels).get("pool")
        if name in {"vibework_pool_in_use", "vibework_pool_waiting"} and pool in _POOLS:
            gauges[f"{name} {pool}"] += int(value)
        elif name in {"grpc_server_in_flight", "vibework_watchers", "vibework_hashing_running"}:
            gauges[name] += int(value)
    return {name: value for name, value in gauges.items() if value}


def _until_empty(look: Callable[[], Any]) -> Any:
    """Look again and again until nothing is seen, or time is up; return what was seen last."""
    end = time.monotonic() + QUIET_SECONDS
    while (seen := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Weather a storm; return 0 where all holds, 1 where not."""
    parser = argparse.ArgumentParser(prog="script/fault --storm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=CALLS, help=f"that are left; default: {CALLS:,}")
    parser.add_argument("--watches", type=int, default=WATCHES, help=f"that are cancelled; default: {WATCHES:,}")
    parser.add_argument("--normal", type=int, default=NORMAL, help=f"calls afterwards; default: {NORMAL:,}")
    options = parser.parse_args(arguments)
    with own_services() as there, step(f"Leaving {options.calls:,} calls and {options.watches:,} watches"):
        found = weather(there, options.calls, options.watches, options.normal)
    print("\n".join(report(found)))  # noqa: T201 - what the command is for
    return 1 if found.problems else 0


def report(found: Weathered) -> Iterator[str]:
    """Yield the lines of the report."""
    yield (
        f"{found.left:,} calls were left, and {found.watches:,} watches; {found.stayed:,} calls stayed; "
        f"{found.seconds:.0f} s"
    )
    yield from found.memory
    yield f"problems: {len(found.problems)}"
    yield from (f"  {problem}" for problem in found.problems[:20])


if __name__ == "__main__":
    sys.exit(main())
