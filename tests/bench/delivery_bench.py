"""Delivery: what a create costs that goes out by email, what one worker sends, claims, and workers that die.

A part of ``script/bench``: ``--only delivery``, in some minutes. Both services, a worker, the mail catcher and the push
service are processes of their own. What is compared takes turns in one run.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import signal
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pymongo
import uvloop
from aiohttp import ClientSession, TCPConnector
from aiosmtplib import SMTP
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1 import preference_service_pb2 as preferences_pb
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub
from vibework.testing.local import ports
from vibework.testing.local.services import Service, migrate
from yarl import URL

from notifications_service.delivery.assembly import PUSHES_AT_A_TIME
from notifications_service.delivery.channels.mime import MailComposer
from notifications_service.delivery.channels.push_encryption import encrypt
from notifications_service.delivery.channels.push_payload import payload
from notifications_service.outbox import schema
from notifications_service.push_subscriptions.keys import PushKeys
from script.local.progress import step
from tests.bench import claim_bench, fleet_bench, mail_bench, push_bench
from tests.bench.databases import Databases, databases
from tests.bench.dataset import ROOT, folder_for
from tests.bench.plan import Plan, user_id
from tests.bench.requests import FEED
from tests.bench.stack import Launcher, Server, launcher
from tests.bench.targets import IN_FLIGHT, Outcome
from tests.bench.unary import GrpcCaller
from tests.bench.usage import cpu_seconds
from tests.harness.fleet import Survived
from tests.harness.push_service import Browser, certificate

SCALE: Final = 0.01
KEPT: Final = ROOT / ".local" / "bench"
NAME: Final = "bench_delivery"
ROUNDS: Final = 10
# Creates of each kind in a round; together ten thousand.
CREATES: Final = 1_000
# Messages of each channel in a round, of half as many rounds.
MAILS, PUSHES = 500, 2_000
CONNECTIONS: Final = 4
PATIENCE_SECONDS: Final = 300.0
TEXT: Final = "A line of text.\n" * 20
KEY: Final = base64.urlsafe_b64encode(b"\x01" * 32).decode().rstrip("=")
EMAIL, PUSH, IN_APP = (
    notification_pb2.NOTIFICATION_TYPE_EMAIL,
    notification_pb2.NOTIFICATION_TYPE_PUSH,
    notification_pb2.NOTIFICATION_TYPE_IN_APP,
)


class Sent(NamedTuple):
    """How many messages a second were sent, and what a message took of a processor in the process that sent them."""

    rate: float
    seconds: float


class Ratios(NamedTuple):
    """How a worker does beside a bare library in each round, by rate and by its own processor time."""

    by_rate: list[float]
    by_processor: list[float]


@dataclass(frozen=True)
class Result:
    """What was measured: ratios of each round, times of claims in milliseconds, and what came of a fleet."""

    creates: Sequence[float]
    mails: Ratios
    pushes: Ratios
    pending: int
    claims: Sequence[float]
    fleet: Survived

    def outcomes(self) -> list[Outcome]:
        """Return what the run says of each target."""
        push = "One worker, Web Push / the bare libraries"
        fleet = f"{self.fleet.deliveries:,} deliveries, a worker killed and one stopped"
        unexplained = float(self.fleet.doubled - self.fleet.explained)
        return [
            Outcome("Creates with email / in-app, by processor time", "x", self.creates, 1.6, rising=False),
            # Of mails by rate alone: the far end is what they wait for, and the library is given them composed.
            Outcome("One worker, email / aiosmtplib alone", "x", self.mails.by_rate, 0.5, rising=True),
            Outcome(push, "x", self.pushes.by_rate, 0.5, rising=True),
            Outcome(f"{push}, by processor time", "x", self.pushes.by_processor, 0.5, rising=True),
            Outcome(f"Claim of 100 of {self.pending:,} pending", "ms", self.claims, 10.0, rising=False),
            Outcome(f"{fleet}: lost", "events", [float(self.fleet.lost)], 0.0, rising=False),
            Outcome(f"{fleet}: twice under a lease that held", "events", [unexplained], 0.0, rising=False),
            Outcome(
                f"{fleet}: twice, their lease had run out", "events", [float(self.fleet.explained)], None, rising=False
            ),
        ]


@dataclass(frozen=True)
class Stack:
    """What is measured: a notifications service, what its workers are started with, and its database."""

    start: Launcher
    server: Server
    settings: Mapping[str, str]
    url: str
    plan: Plan
    smtp_port: int
    push_port: int
    pem: str

    @property
    def rows(self) -> Any:
        """The deliveries."""
        return pymongo.MongoClient[dict[str, Any]](self.url).get_default_database().deliveries


@contextmanager
def stack(logs: Path) -> Iterator[Stack]:
    """Start everything, on an empty database of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        databases(folder_for(KEPT, SCALE)) as servers,
        mail_bench.catching() as smtp,
        launcher(logs) as start,
    ):
        pem = str(certificate(Path(folder)).file)
        dataset, url = servers.dataset("bench_small", SCALE), _database(servers)
        settings = {
            **dataset.notifications,
            "MONGODB_URL": url,
            "USERS_ADDRESS": start.users("delivery-users", dataset).address,
            "DELIVERY": "separate",
            "DELIVERY_POLL_MS": "20",
            "EMAIL_UNVERIFIED": "send",
            "SMTP_HOST": ports.LOOPBACK,
            "SMTP_PORT": str(smtp),
            "SMTP_SECURITY": "none",
            "SMTP_CONNECTIONS": str(CONNECTIONS),
            "EMAIL_FROM": mail_bench.FROM,
            "WEB_PUSH_KEYS": f"k1:{KEY}",
            "WEB_PUSH_SUBJECT": push_bench.SUBJECT,
            "WEB_PUSH_ALLOW_LOOPBACK": "true",
            "SSL_CERT_FILE": pem,
        }
        migrate([Service("notifications", 0, settings)], logs)
        server = start.notifications("delivery-notifications", settings)
        with push_bench.serving(pem) as push:
            yield Stack(start, server, settings, url, dataset.plan, smtp, push, pem)


def _database(servers: Databases) -> str:
    url = servers.mongodb.url.replace("/?", f"/{NAME}?")
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        client.drop_database(NAME)
    return url


def requests(plan: Plan, kind: notification_pb2.NotificationType.ValueType) -> list[bytes]:
    """Return creates for the users that are kept for this."""
    content = notification_pb2.NotificationContent(title="A title of some length", message=TEXT, type=kind)
    users = (user_id(number) for number in plan.recipients)
    return [feed_pb.CreateNotificationRequest(user_id=each, content=content).SerializeToString() for each in users]


async def create(server: Server, made: Sequence[bytes], number: int) -> None:
    """Make so many creates, ``IN_FLIGHT`` at a time."""
    numbers = iter(range(number))
    async with GrpcCaller(server.address, f"{FEED}/CreateNotification", made, CONNECTIONS).open() as call:

        async def work() -> None:
            for each in numbers:
                await call(each)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def creates(it: Stack) -> list[float]:
    """Return how much processor time a create with email takes, in parts of one in the feed alone, in each round."""
    worker = it.start.worker("delivery-worker-creates", it.settings)
    kinds = {kind: requests(it.plan, kind) for kind in (EMAIL, IN_APP)}
    for made in kinds.values():
        uvloop.run(create(it.server, made, CREATES))
    found = []
    for number in range(ROUNDS):
        used = {}
        # Every other round backwards.
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            before = cpu_seconds([it.server.pid])
            uvloop.run(create(it.server, kinds[kind], CREATES))
            used[kind] = cpu_seconds([it.server.pid]) - before
        found.append(used[EMAIL] / used[IN_APP])
    worker.process.stop()
    it.rows.delete_many({})
    return found


def wait_until_sent(it: Stack) -> None:
    """Wait until nothing is to be sent any more."""
    end = time.monotonic() + PATIENCE_SECONDS
    # By the index of what is due: whoever looks is to take nothing from what is measured.
    while it.rows.count_documents({"dueAt": {"$exists": True}}, limit=1, hint=schema.CLAIM_INDEX):
        if time.monotonic() > end:
            raise RuntimeError("the worker does not come to an end")
        time.sleep(0.05)


@contextmanager
def worker(it: Stack, kind: notification_pb2.NotificationType.ValueType, number: int) -> Iterator[Callable[[], Sent]]:
    """Run a worker; yield what creates so many messages and lets it send them."""
    # All are there when it looks: one that looks often only asks for the other channel, in vain.
    process = it.start.worker(f"delivery-worker-{kind}", {**it.settings, "DELIVERY_POLL_MS": "1000"})

    def send() -> Sent:
        it.rows.delete_many({})
        # It sleeps until all are there: nothing but sending is measured.
        os.kill(process.pid, signal.SIGSTOP)
        uvloop.run(create(it.server, requests(it.plan, kind), number))
        before = cpu_seconds([process.pid])
        os.kill(process.pid, signal.SIGCONT)
        wait_until_sent(it)
        spent = cpu_seconds([process.pid]) - before
        rows = list(it.rows.find({}, {"state": 1, "sentAt": 1, "log": 1}))
        if len(rows) != number or any(row["state"] != "sent" for row in rows):
            raise RuntimeError("a message was not accepted")
        took: timedelta = max(row["sentAt"] for row in rows) - min(row["log"][0]["startedAt"] for row in rows)
        return Sent(number / took.total_seconds(), spent / number)

    try:
        yield send
    finally:
        process.process.stop()


def turns(ours: Callable[[], Sent], bare: Callable[[], Sent]) -> Ratios:
    """Let both take turns, once to warm up; return the ratios of each round."""
    found = Ratios([], [])
    for number in range(ROUNDS // 2 + 1):
        order = (ours, bare) if number % 2 else (bare, ours)
        measured = {each: each() for each in order}
        if number:
            found.by_rate.append(measured[ours].rate / measured[bare].rate)
            found.by_processor.append(measured[bare].seconds / measured[ours].seconds)
    return found


def mails(it: Stack) -> Ratios:
    """Return what a worker sends by email, in parts of what aiosmtplib alone does over as many connections."""
    composer = MailComposer(mail_bench.FROM)
    contents = [composer.compose(mail, datetime.now(UTC)) for mail in mail_bench.mails()]
    many = list(itertools.islice(itertools.cycle(contents), MAILS))

    async def bare() -> Sent:
        clients = [SMTP(hostname=ports.LOOPBACK, port=it.smtp_port, start_tls=False) for _ in range(CONNECTIONS)]
        for client in clients:
            await client.connect()
        began, before = time.perf_counter(), time.process_time()
        await mail_bench.by_aiosmtplib(clients, many)
        took, spent = time.perf_counter() - began, time.process_time() - before
        for client in clients:
            await client.quit()
        return Sent(MAILS / took, spent / MAILS)

    with worker(it, EMAIL, MAILS) as ours:
        return turns(ours, lambda: uvloop.run(bare()))


def pushes(it: Stack) -> Ratios:
    """Return what a worker sends by Web Push, in parts of what the bare libraries encrypt and post."""
    address = f"{ports.LOOPBACK}:{it.push_port}"
    browsers = [Browser(f"https://{address}/{number}") for number in range(len(it.plan.recipients))]
    with grpc.insecure_channel(it.server.address) as channel:
        stub = PreferenceServiceStub(channel)
        for number, browser in zip(it.plan.recipients, browsers, strict=True):
            target = preferences_pb.WebPushTarget(
                endpoint=browser.endpoint, p256dh=browser.p256dh, auth=browser.auth, key_id="k1"
            )
            stub.RegisterPushSubscription(
                preferences_pb.RegisterPushSubscriptionRequest(user_id=user_id(number), web_push=target)
            )
    keys = PushKeys.parse(f"k1:{KEY}")
    ready, url, headers = payload(push_bench.MESSAGE), URL(browsers[0].endpoint), push_bench.headers_for(address, keys)
    tls = ssl.create_default_context(cafile=it.pem)

    async def bare() -> Sent:
        async with ClientSession(connector=TCPConnector(ssl=tls, limit=PUSHES_AT_A_TIME)) as session:

            async def send(number: int) -> int:
                target = browsers[number % len(browsers)]
                return await push_bench.post(session, url, encrypt(ready, target.p256dh, target.auth), headers)

            # The worker has its connections, too.
            await push_bench.rate_of(send, PUSHES_AT_A_TIME)
            before = time.process_time()
            rate = await push_bench.rate_of(send, PUSHES)
            return Sent(rate, (time.process_time() - before) / PUSHES)

    with worker(it, PUSH, PUSHES) as ours:
        return turns(ours, lambda: uvloop.run(bare()))


def measure(logs: Path, scale: float) -> Result:
    """Measure everything; ``scale``: of the million that are pending and the ten thousand of the fleet."""
    pending = max(10_000, round(claim_bench.PENDING * scale))
    logs.mkdir(parents=True, exist_ok=True)
    with step("Creates, mails and pushes"), stack(logs) as it:
        ratios = creates(it), mails(it), pushes(it)
    claims = claim_bench.measure(pending).ours
    with step("Workers that are killed and stopped"):
        survived = fleet_bench.measure(max(500, round(fleet_bench.DELIVERIES * scale)), logs)
    return Result(*ratios, pending, [statistics.median(claims)], survived)
