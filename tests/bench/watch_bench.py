"""Many watchers on one process: how long an event takes to arrive, whether any is lost, and what a watcher costs.

A part of ``script/bench``, and by itself ``python -m tests.bench.watch_bench``. It starts a database and a service of
its own and takes about half a minute. The watchers are in this process, the service in another; each has its own user.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
import uvloop
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.testing.local import ports
from vibework.testing.local.services import Service

from script.local.mongodb import LocalMongoDB
from tests.bench.usage import cpu_seconds, resident_mib
from tests.harness.database_servers import ROOT

WATCHERS = 1_000
RATE = 200.0
SECONDS = 15.0
CHANNELS = 10
# Watchers that begin at the same time.
AT_ONCE = 250
START_SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    """Latencies in milliseconds, from sending the create (so the commit included) and from its answer on."""

    watchers: int
    rate: float
    created: int
    received: int
    lost: int
    repeated: int
    sent_to_receipt_p50: float
    sent_to_receipt_p99: float
    answer_to_receipt_p50: float
    answer_to_receipt_p99: float
    kib_per_idle_watcher: float
    server_cpu: float
    connect_seconds: float
    reconnect_seconds: float


@dataclass
class Log:
    """When each notification was sent, acknowledged and received (seconds, monotonic)."""

    sent: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    repeated: int = 0
    tokens: dict[str, str] = field(default_factory=dict)


@contextmanager
def service(directory: Path, driver: str) -> Iterator[tuple[str, int]]:
    """Run a database and a notifications service on it; yields its address and process."""
    mongod = LocalMongoDB(directory, program_cache=ROOT / ".local" / "mongod")
    mongod.start()
    try:
        settings = {
            "MONGODB_URL": mongod.url.replace("/?", "/bench?"),
            "MONGODB_DRIVER": driver,
            "SECRET_KEYS": "bench:" + base64.b64encode(bytes(32)).decode(),
            "RECIPIENT_CHECK": "off",
            "GRPC_PORT": str(port := ports.free_port()),
            "METRICS_PORT": str(ports.free_port()),
            "GRPC_DRAIN_MS": "0",
            "LOG_LEVEL": "warning",
        }
        started = Service("notifications", port, settings)
        started.run("migrate", "up", log=directory / "service.log").finish(grace=START_SECONDS)
        process = started.run("serve", log=directory / "service.log")
        process.wait_until(started.is_serving, timeout=START_SECONDS)
        try:
            yield started.address, process.pid
        finally:
            process.stop()
    finally:
        mongod.kill()


async def follow(stub: Any, user_id: str, log: Log, ready: asyncio.Event) -> None:
    """Watch a user for ever and note what arrives."""
    call = stub.WatchNotifications(
        pb.WatchNotificationsRequest(user_id=user_id, resume_token=log.tokens[user_id])
        if user_id in log.tokens
        else pb.WatchNotificationsRequest(user_id=user_id)
    )
    async for response in call:
        log.tokens[user_id] = response.resume_token
        ready.set()
        if response.WhichOneof("event") == "created":
            title = response.created.title
            log.repeated += title in log.received
            log.received[title] = time.perf_counter()


@contextlib.asynccontextmanager
async def watchers(stubs: list[Any], count: int, log: Log) -> AsyncIterator[float]:
    """Keep so many watchers open; yields the seconds until the last was in place."""
    begun = time.perf_counter()
    room = asyncio.Semaphore(AT_ONCE)
    tasks: list[asyncio.Task[None]] = []

    async def open_one(number: int) -> None:
        async with room:
            ready = asyncio.Event()
            tasks.append(asyncio.create_task(follow(stubs[number % len(stubs)], f"user {number}", log, ready)))
            await ready.wait()

    await asyncio.gather(*(open_one(number) for number in range(count)))
    try:
        yield time.perf_counter() - begun
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def load(stub: Any, users: int, rate: float, seconds: float, log: Log) -> None:
    """Create notifications at a steady rate, whatever the answers take (open loop)."""
    chance = random.Random(1)
    begun = time.perf_counter()
    creates = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(begun + number / rate - time.perf_counter())
        creates.append(asyncio.create_task(create(stub, f"user {chance.randrange(users)}", str(number), log)))
    await asyncio.gather(*creates)


async def create(stub: Any, user_id: str, title: str, log: Log) -> None:
    """Create a notification and note when."""
    log.sent[title] = time.perf_counter()
    kind = notification_pb2.NOTIFICATION_TYPE_IN_APP
    content = notification_pb2.NotificationContent(title=title, message="m" * 200, type=kind)
    await stub.CreateNotification(pb.CreateNotificationRequest(user_id=user_id, content=content))
    log.acknowledged[title] = time.perf_counter()


def percentile(values: list[float], share: float) -> float:
    """Return a percentile in milliseconds of values in seconds."""
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 2)


async def run(address: str, pid: int, count: int, rate: float, seconds: float) -> Result:
    """Measure a running service."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS + 1)]
    stubs = [NotificationServiceStub(channel) for channel in channels]
    log = Log()
    async with watchers(stubs[1:], 1, Log()):
        await load(stubs[0], 1, rate, 1.0, Log())
    before = resident_mib(pid)
    async with watchers(stubs[1:], count, log) as connect:
        await asyncio.sleep(1.0)
        gc.collect()
        gc.freeze()
        memory = (resident_mib(pid) - before) * 1024 / count
        spent = cpu_seconds([pid])
        await load(stubs[0], count, rate, seconds, log)
        await asyncio.sleep(1.0)
        spent = (cpu_seconds([pid]) - spent) / (seconds + 1.0)
    missed = [create(stubs[0], f"user {number}", f"missed {number}", log) for number in range(0, count, 10)]
    await asyncio.gather(*missed)
    async with watchers(stubs[1:], count, log) as reconnect:
        await asyncio.sleep(1.0)
    for channel in channels:
        await channel.close()
    costs = {
        "kib_per_idle_watcher": round(memory, 1),
        "server_cpu": round(spent, 2),
        "connect_seconds": round(connect, 2),
        "reconnect_seconds": round(reconnect, 2),
    }
    return result(log, count, rate, costs)


def result(log: Log, count: int, rate: float, costs: dict[str, float]) -> Result:
    """Sum up what was noted."""
    live = [title for title in log.received if title in log.acknowledged and not title.startswith("missed")]
    since_sent = [log.received[title] - log.sent[title] for title in live]
    since_answer = [max(0.0, log.received[title] - log.acknowledged[title]) for title in live]
    return Result(
        watchers=count,
        rate=rate,
        created=len(log.acknowledged),
        received=len(log.received),
        lost=len(log.acknowledged.keys() - log.received.keys()),
        repeated=log.repeated,
        sent_to_receipt_p50=percentile(since_sent, 0.5),
        sent_to_receipt_p99=percentile(since_sent, 0.99),
        answer_to_receipt_p50=percentile(since_answer, 0.5),
        answer_to_receipt_p99=percentile(since_answer, 0.99),
        **costs,
    )


def measure(count: int = WATCHERS, rate: float = RATE, seconds: float = SECONDS, driver: str = "pymongo") -> Result:
    """Start a database and a service, measure so many watchers, and end both."""
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), driver) as (address, pid):
        return uvloop.run(run(address, pid, count, rate, seconds))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--watchers", "count", default=WATCHERS, show_default=True, help="How many watchers.")
@click.option("--rate", default=RATE, show_default=True, help="Creates a second.")
@click.option("--seconds", default=SECONDS, show_default=True, help="How long.")
@click.option("--driver", default="pymongo", show_default=True, type=click.Choice(["pymongo", "motor"]))
def main(count: int, rate: float, seconds: float, driver: str) -> None:
    """Measure watches and print the result as JSON."""
    click.echo(json.dumps(asdict(measure(count, rate, seconds, driver)), indent=2))


if __name__ == "__main__":
    main()
