"""A fleet of workers, each a process of `notifications-service deliver`, of which some are killed and some are stopped.

For tests, and for the bench with more rows.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pymongo
from vibework.testing.local.ports import LOOPBACK, free_port

from chassis.keyring import Keyring
from notifications_service.outbox.direct import DirectContent, DirectSeal, NewDirect
from notifications_service.outbox.model import Reason
from tests.harness.clocks import stored_now
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.relay import Relay, running
from tests.harness.workers import serving

WORKERS: Final = 4
SLICE: Final = 5_000
# The part of the mails that is there when some of the workers go.
UNTIL: Final = 0.1
# More deliveries than a worker sends at a time: of so many some are still in hand once all is carried out that was on
# its way when the worker stopped.
MUCH: Final = 30
# Why a mail may have been accepted though its attempt failed.
_UNKNOWN: Final = {Reason.OUTCOME_UNKNOWN.value, Reason.TIMEOUT.value}
_OURS: Final = re.compile(rb"^Message-ID: <(dlv_[0-9a-z]{26})@", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Survived:
    """What came of deliveries of which some lost their worker.

    ``lost``: nobody accepted a mail for them. ``doubled``: for which mails were accepted more than once; ``explained``:
    those of them of which an attempt ended as nobody knows, as their log says: their lease ran out while a worker had
    them, or the relay's answer came too late for a worker that was stopped, or had no processor, meanwhile.
    ``taken_over``: all deliveries whose lease ran out.
    """

    deliveries: int
    lost: int
    doubled: int
    explained: int
    taken_over: int


@contextmanager
def relaying(relay: Relay) -> Iterator[Relay]:
    """Let a relay take mails, in a thread of its own."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def take() -> None:
        async with running(relay):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(take()), name="relay")
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield relay
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def queue(url: str, number: int, secret_keys: str) -> None:
    """Store so many direct mails that are due."""
    seal, now = DirectSeal(Keyring.parse(secret_keys)), stored_now()
    content = DirectContent(subject="A mail", text="A line of text.\n" * 20)
    rows = (
        seal.stored(NewDirect(content, now + timedelta(hours=12), address=f"user{each}@example.com"), now)
        for each in range(number)
    )
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        stored = client.get_default_database().deliveries
        while part := list(itertools.islice(rows, SLICE)):
            stored.insert_many(part)


@contextmanager
def worker(settings: Mapping[str, str], log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the context ends; it serves health at the port once it is ready."""
    own = {"GRPC_PORT": str(port), "METRICS_PORT": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "notifications_service", "deliver"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **settings, **own}, stdout=output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def settings_for(database: Mapping[str, str], relay: Relay, lease: timedelta, secret_keys: str) -> dict[str, str]:
    """Return the settings of a worker."""
    return {
        **database,
        "SECRET_KEYS": secret_keys,
        "SMTP_HOST": LOOPBACK,
        "SMTP_PORT": str(relay.port),
        "SMTP_SECURITY": "none",
        "EMAIL_FROM": "no-reply@vibework.example",
        "DELIVERY_LEASE_MS": str(round(lease / timedelta(milliseconds=1))),
        "DELIVERY_POLL_MS": "50",
        "GRPC_DRAIN_MS": "0",
    }


def survive(url: str, number: int, lease: timedelta, folder: Path, secret_keys: str) -> Survived:
    """Send so many mails with ``WORKERS`` workers, of which one is killed and one stopped for longer than its lease."""
    with relaying(Relay(pause=0.002)) as relay, pymongo.MongoClient[dict[str, Any]](url) as client:
        rows = client.get_default_database().deliveries
        settings = settings_for({"MONGODB_URL": url}, relay, lease, secret_keys)
        with ExitStack() as fleet:
            ports = [free_port() for _ in range(WORKERS)]
            killed, stopped, *others = [
                fleet.enter_context(worker(settings, folder / f"worker-{port}.log", port)) for port in ports
            ]
            for port in ports:
                wait_for(lambda port=port: serving(port), "a worker")  # type: ignore[misc]
            for each in (stopped, *others):
                each.send_signal(signal.SIGSTOP)
            queue(url, number, secret_keys)
            wait_for(lambda: len(relay.mails) >= number * UNTIL, "the first mails")
            # By turns, so that it is known whose what is in hand is.
            leases = _stop_in_the_midst(killed, rows, [])
            stopped.send_signal(signal.SIGCONT)
            _stop_in_the_midst(stopped, rows, leases)
            killed.kill()
            killed.wait()
            for each in others:
                each.send_signal(signal.SIGCONT)
            # What these two had in hand is taken over by the others when its lease has run out.
            while rows.count_documents({"dueAt": {"$exists": True}}, limit=1):
                before = len(relay.mails)
                wait_for(
                    lambda before=before: len(relay.mails) > before or not _left(rows),  # type: ignore[misc]
                    "another mail",
                )
        # Here the stopped one has gone on, and ended.
        accepted = Counter(_OURS.search(mail.content)[1].decode() for mail in relay.mails)  # type: ignore[index]
        return _counted(rows, accepted)


def _stop_in_the_midst(process: subprocess.Popen[bytes], rows: Any, known: Sequence[str]) -> list[str]:
    """Stop the one worker that works while it has much in hand, under other leases than these; return all leases."""
    while True:
        wait_for(lambda: _in_hand(rows, known) >= MUCH, "a worker that has much in hand")
        process.send_signal(signal.SIGSTOP)
        if _in_hand(rows, known) >= MUCH:
            return list(rows.distinct("lease"))
        process.send_signal(signal.SIGCONT)


def _in_hand(rows: Any, known: Sequence[str]) -> int:
    return int(rows.count_documents({"state": "sending", "lease": {"$nin": known}}))


def _left(rows: Any) -> int:
    return int(rows.count_documents({"dueAt": {"$exists": True}}, limit=1))


def _counted(rows: Any, accepted: Counter[str]) -> Survived:
    reasons_of = {row["_id"]: {each.get("reason") for each in row.get("log", ())} for row in rows.find({}, {"log": 1})}
    taken_over = {key for key, reasons in reasons_of.items() if Reason.OUTCOME_UNKNOWN.value in reasons}
    unknown = {key for key, reasons in reasons_of.items() if reasons & _UNKNOWN}
    ids = reasons_of.keys()
    doubled = {key for key, times in accepted.items() if times > 1}
    return Survived(len(ids), len(ids - accepted.keys()), len(doubled), len(doubled & unknown), len(taken_over))
