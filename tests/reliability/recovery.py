"""How long it takes until all is well again: health, the first good call, and what processes hold when nobody calls."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncmy
import pymongo
from pymongo.errors import PyMongoError
from vibework.client import Notifications, RetryPolicy, Users
from vibework.client.errors import VibeworkError
from vibework.notifications.v1 import DELIVERY_EVENT_HARD_BOUNCE
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import VERIFICATION_KIND_CODE, VERIFICATION_PURPOSE_SIGN_IN

from tests.harness.databases import in_own_thread
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.workers import healthy
from tests.integration.telemetry.scraping import parsed
from tests.reliability.certificates import channel
from tests.reliability.cluster import ACCOUNT, DATABASE, Cluster
from tests.reliability.processes import Served

# What is promised, in seconds: for health, either way, and from the database's first good answer to the service's.
HEALTH_SECONDS: Final = 5.0
FIRST_GOOD_SECONDS: Final = 2.0
# What a process may hold beyond what it held before any fault: memory in MiB or as a part, descriptors, and the like.
MEMORY_MIB: Final = 20.0
MEMORY_PART: Final = 0.1
MORE: Final = {"descriptors": 12, "threads": 4, "tasks": 8}
IDLE_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.1
_PROBE_SECONDS: Final = 8.0


@dataclass
class Healths:
    """When each process said that it serves, and that it does not: times on the monotonic clock."""

    processes: Sequence[Served]
    changes: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def watch(self, served: Served, over: threading.Event) -> None:
        """Ask one process again and again."""
        seen = self.changes.setdefault(served.name, [])
        with channel(served.port, served.tls, ("grpc.max_reconnect_backoff_ms", 200)) as connection:
            while not over.wait(LOOK_SECONDS):
                is_well = healthy(connection)
                if not seen or seen[-1][1] != is_well:
                    seen.append((time.monotonic(), is_well))

    def after(self, names: Sequence[str], since: float, *, well: bool) -> float | None:
        """Return how many seconds after a time the last of these processes said so; None: one did not."""
        found = []
        for name in names:
            seen = self.changes.get(name, [])
            times = [at for at, is_well in seen if is_well is well and at >= since]
            before = [is_well for at, is_well in seen if at < since]
            if before and before[-1] is well and not any(at >= since for at, _ in seen):
                times = [since]
            if not times:
                return None
            found.append((times[-1] if well else times[0]) - since)
        return max(found)


@contextmanager
def watching_health(processes: Sequence[Served]) -> Iterator[Healths]:
    """Watch the health of processes for as long as the context lasts."""
    healths, over = Healths(processes), threading.Event()
    threads = [
        threading.Thread(target=healths.watch, args=(each, over), name=f"health of {each.name}") for each in processes
    ]
    for each in threads:
        each.start()
    try:
        yield healths
    finally:
        over.set()
        for each in threads:
            each.join()


def first_good(cluster: Cluster) -> dict[str, float | None]:
    """Return after how many seconds both databases, and each process, first took a write; None: not in good time.

    By the ways that services and callers take.
    """
    begun, found = time.monotonic(), dict[str, float | None]()

    def look(name: str, writing: AbstractContextManager[Callable[[], object]]) -> None:
        found[name] = None
        with writing as write:
            while time.monotonic() - begun < PATIENCE_SECONDS:
                with contextlib.suppress(OSError, PyMongoError, asyncmy.errors.Error, VibeworkError, TimeoutError):
                    write()
                    found[name] = time.monotonic() - begun
                    return
                time.sleep(LOOK_SECONDS)

    looks: dict[str, AbstractContextManager[Callable[[], object]]] = {
        "mysql": contextlib.nullcontext(partial(_write_mysql, cluster)),
        "mongodb": contextlib.nullcontext(partial(_write_mongodb, cluster)),
        **{each.name: _writing(each) for each in cluster.served},
    }
    threads = [threading.Thread(target=look, args=each, name=f"first good of {each[0]}") for each in looks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _write_mysql(cluster: Cluster) -> None:
    async def write() -> None:
        connection = await asyncmy.connect(
            host=LOOPBACK,
            port=cluster.mysql_proxy.listens,
            user=ACCOUNT,
            password=ACCOUNT,
            db=DATABASE,
            connect_timeout=_PROBE_SECONDS,
            read_timeout=_PROBE_SECONDS,
            autocommit=True,
        )
        async with connection.cursor() as cursor:
            await cursor.execute(f"REPLACE INTO of_suite VALUES (1, {time.time()})")
        await connection.ensure_closed()

    in_own_thread(write)


def _write_mongodb(cluster: Cluster) -> None:
    milliseconds = int(_PROBE_SECONDS * 1_000)
    waits: dict[str, Any] = {"serverSelectionTimeoutMS": milliseconds, "socketTimeoutMS": milliseconds, "w": "majority"}
    with pymongo.MongoClient[dict[str, Any]](cluster.mongodb.url, **waits) as client:
        client[DATABASE].of_suite.insert_one({"at": time.time()})


@contextmanager
def _writing(served: Served) -> Iterator[Callable[[], object]]:
    once = RetryPolicy(attempts=1)
    with (
        Users.connect(served.address, retries=once, tls=served.tls) as users,
        Notifications.connect(served.address, retries=once, tls=served.tls) as notifications,
    ):
        if served.package == "users_service":
            yield lambda: users.create_verification(
                purpose=VERIFICATION_PURPOSE_SIGN_IN,
                identifier=f"{time.monotonic_ns()}@example.com",
                kind=VERIFICATION_KIND_CODE,
                timeout=_PROBE_SECONDS,
            )
        else:
            yield lambda: notifications.report_delivery_event(
                email_address="probe@example.com", event=DELIVERY_EVENT_HARD_BOUNCE, timeout=_PROBE_SECONDS
            )


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory_mib: float
    descriptors: int
    threads: int
    tasks: int
    # Connections that are lent, callers that wait for one, and calls being served.
    busy: int

    def excess(self, usual: Held) -> Iterator[str]:
        """Yield what is more than usual."""
        if self.memory_mib > usual.memory_mib + max(MEMORY_MIB, MEMORY_PART * usual.memory_mib):
            yield f"{self.memory_mib:.0f} MiB, before {usual.memory_mib:.0f}"
        for name, more in MORE.items():
            if getattr(self, name) > getattr(usual, name) + more:
                yield f"{getattr(self, name)} {name}, before {getattr(usual, name)}"
        if self.busy > usual.busy:
            yield f"{self.busy} connections, waiting callers or calls, before {usual.busy}"


def held(served: Served) -> Held:
    """Look at what a process holds now; what its pool keeps open counts as no descriptor."""
    status = Path(f"/proc/{served.pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    with urllib.request.urlopen(f"http://{LOOPBACK}:{served.metrics}/metrics", timeout=PATIENCE_SECONDS) as answer:
        samples = parsed(answer.read().decode()).samples
    pooled = _sum(samples, "vibework_pool_size")
    return Held(
        memory_mib=int(values["VmRSS"].split()[0]) / 1024,
        descriptors=len(os.listdir(f"/proc/{served.pid}/fd")) - pooled,  # noqa: PTH208
        threads=int(values["Threads"]),
        tasks=_tasks(served),
        # A change stream has a connection at almost all times, whoever watches.
        busy=_sum(
            {key: value for key, value in samples.items() if ("pool", "watches") not in key[1]},
            "vibework_pool_in_use",
            "vibework_pool_waiting",
        ),
    )


def _sum(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], *names: str) -> int:
    return round(sum(value for (name, _), value in samples.items() if name in names))


def _tasks(served: Served) -> int:
    served.tasks_file.unlink(missing_ok=True)
    os.kill(served.pid, signal.SIGUSR2)
    end = time.monotonic() + PATIENCE_SECONDS
    while not served.tasks_file.exists():
        assert time.monotonic() < end, f"{served.name} does not tell its tasks"
        time.sleep(0.02)
    return int(served.tasks_file.read_text())


def back_to_idle(cluster: Cluster, usual: Mapping[str, Held]) -> tuple[dict[str, Held], list[str]]:
    """Wait until no process holds more than usual; return what each holds, and what is too much."""
    end = time.monotonic() + IDLE_SECONDS
    while True:
        now = {each.name: held(each) for each in cluster.served}
        too_much = [
            f"{name}: {text}" for name, each in now.items() if name in usual for text in each.excess(usual[name])
        ]
        if not too_much or time.monotonic() > end:
            return now, too_much
        time.sleep(0.5)
