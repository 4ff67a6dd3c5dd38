"""A replica set of a primary and a secondary, as local processes; the secondary can be held back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo

from script.local import ports
from script.local.mongodb import START_TIMEOUT_SECONDS, LocalMongoDB
from tests.harness.database_servers import MongoServer
from tests.harness.keeper import PROGRAM_CACHE

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


def _direct(port: int) -> Client:
    return Client(ports.LOOPBACK, port, directConnection=True)
