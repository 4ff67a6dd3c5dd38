"""A replica set of a primary and a secondary, as local processes; the secondary can be held back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError
from vibework.testing.local import ports
from vibework.testing.local.database_servers import START_TIMEOUT_SECONDS
from vibework.testing.local.mongodb import REPLICA_SET

from script.local.mongodb import LocalMongoDB
from tests.harness.database_servers import MongoServer
from tests.harness.keeper import PROGRAM_CACHE
from tests.harness.proxy import Proxy, proxy_to

Client = pymongo.MongoClient[dict[str, Any]]


@dataclass
class Members:
    """The set, by its URL, and its secondary, which has no vote: writes are acknowledged without it."""

    server: MongoServer
    secondary: LocalMongoDB

    def on_secondary(self, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        """Run a command on the secondary itself."""
        with _direct(self.secondary.port) as client:
            return client[database].command(command, read_preference=pymongo.ReadPreference.SECONDARY_PREFERRED)

    def hold_back(self) -> None:
        """Let the secondary carry out nothing that the primary does from now on."""
        self.on_secondary({"configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn"})

    def let_go(self) -> None:
        """Let it follow again."""
        self.on_secondary({"configureFailPoint": "rsSyncApplyStop", "mode": "off"})

    def start(self) -> None:
        """Start the secondary again after it was killed; it ends with the thread that does this."""
        self.secondary.begin()
        _await_answer(self.secondary)

    def catch_up(self) -> None:
        """Wait until the secondary is where the primary is."""
        end = time.monotonic() + START_TIMEOUT_SECONDS
        with Client(self.server.url) as client:
            while len({member["optime"]["ts"] for member in client.admin.command("replSetGetStatus")["members"]}) > 1:
                assert time.monotonic() < end, "the secondary does not catch up"
                time.sleep(0.02)

    def queries(self) -> int:
        """Return how many queries and aggregations the secondary has carried out."""
        status = self.on_secondary({"serverStatus": 1})
        commands = status["metrics"]["commands"]
        return int(status["opcounters"]["query"] + commands["aggregate"]["total"])


@contextmanager
def members(directory: Path) -> Iterator[Members]:
    """Run both for as long as the context lasts."""
    primary, secondary = (LocalMongoDB(directory / name, program_cache=PROGRAM_CACHE) for name in ("first", "second"))
    try:
        primary.begin()
        secondary.begin()
        primary.wait()
        _join(primary, secondary)
        yield Members(MongoServer(primary.url), secondary)
    finally:
        secondary.kill()
        primary.kill()


# So that a new primary is there within about two seconds of the loss of the old one; the defaults are 2 and 10 s.
QUICK: Final = {"heartbeatIntervalMillis": 300, "electionTimeoutMillis": 1_500}
# Members name themselves to each other by this; clients do not.
OF_MEMBERS: Final = b"internalClient"


@dataclass
class ReplicaSet:
    """Members that all have a vote, each behind a proxy that disturbs clients and not the members among themselves."""

    members: Sequence[LocalMongoDB]
    proxies: Sequence[Proxy]

    @property
    def url(self) -> str:
        """The URL of the set, without a database."""
        hosts = ",".join(f"{ports.LOOPBACK}:{proxy.listens}" for proxy in self.proxies)
        return f"mongodb://{hosts}/?replicaSet={REPLICA_SET}"

    def primary(self) -> LocalMongoDB | None:
        """Return the member that takes writes now."""
        for member in self.members:
            with contextlib.suppress(PyMongoError), _direct(member.port, serverSelectionTimeoutMS=500) as client:
                if client.admin.command("hello").get("isWritablePrimary"):
                    return member
        return None

    def await_primary(self) -> LocalMongoDB:
        """Wait for a primary, and return it."""
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while (found := self.primary()) is None:
            assert time.monotonic() < end, "no primary was elected"
            time.sleep(0.05)
        return found

    def initiate(self) -> None:
        """Make one set of the members, each known by its proxy."""
        listed = [
            {"_id": number, "host": f"{ports.LOOPBACK}:{proxy.listens}"} for number, proxy in enumerate(self.proxies)
        ]
        with _direct(self.members[0].port) as client:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": listed, "settings": QUICK})
        self.await_primary()


@contextmanager
def replica_set(directory: Path, size: int = 3) -> Iterator[ReplicaSet]:
    """Run a replica set for as long as the context lasts."""
    with ExitStack() as running:
        made = [
            LocalMongoDB(directory / f"member-{number}", program_cache=PROGRAM_CACHE, cache_gb=0.25)
            for number in range(size)
        ]
        for member in made:
            running.callback(member.kill)
            member.begin()
        proxies = [running.enter_context(proxy_to(ports.LOOPBACK, member.port)) for member in made]
        for member, proxy in zip(made, proxies, strict=True):
            proxy.spares = OF_MEMBERS
            _await_answer(member)
        whole = ReplicaSet(made, proxies)
        whole.initiate()
        yield whole


def _await_answer(server: LocalMongoDB) -> None:
    assert server.process is not None
    server.process.wait_until(lambda: ports.is_taken(server.port), timeout=START_TIMEOUT_SECONDS)


def _join(primary: LocalMongoDB, secondary: LocalMongoDB) -> None:
    _await_answer(secondary)
    with _direct(primary.port) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        member = {"_id": 1, "host": f"{ports.LOOPBACK}:{secondary.port}", "priority": 0, "votes": 0}
        config["members"].append(member)
        config["version"] += 1
        # The primary knows by heartbeats where the other is.
        config["settings"]["heartbeatIntervalMillis"] = 100
        client.admin.command("replSetReconfig", config)
    with _direct(secondary.port) as client:
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while not client.admin.command("hello").get("secondary"):
            assert time.monotonic() < end, "the second member does not follow"
            time.sleep(0.02)


def _direct(port: int, **options: Any) -> Client:
    return Client(ports.LOOPBACK, port, directConnection=True, **options)
