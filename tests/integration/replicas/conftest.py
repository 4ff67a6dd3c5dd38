"""A primary, a replica that follows it, and the users service on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.mysql_replication import Replication, replication
from tests.harness.patience import PATIENCE_MS, wait_for
from tests.harness.users import Stubs, UsersServer, users_service
from users_service.replicas import assembly
from users_service.replicas.reads import ReplicaReads

# Settings under test: how far behind a replica may be, in milliseconds.
MAX_LAG_MS = 500
AN_HOUR = 3_600


@dataclass
class Replicated:
    """The users service, its replica, and what it knows of the replica."""

    server: UsersServer
    pair: Replication
    reads: ReplicaReads
    _channels: list[Any] = field(default_factory=list)

    @property
    def database(self) -> MySQLDatabase:
        """The database on the primary."""
        return self.server.database

    def mark(self, statement: str) -> None:
        """Change rows on the replica alone, so that its answers can be told from the primary's."""
        self.pair.catch_up()
        self.pair.on_replica(statement, database=self.database.name)

    def used(self) -> bool:
        """Say whether the replica may be asked now."""
        return self.reads.replicas[0].in_use

    def bear(self, seconds: float) -> None:
        """Let replicas be so far behind."""
        for replica in self.reads.replicas:
            replica._max_lag = seconds

    @asynccontextmanager
    async def stubs(self) -> AsyncIterator[Stubs]:
        """Stubs on a channel of the running loop."""
        async with self.server.aio_channel() as channel:
            yield Stubs.on(channel)


@pytest.fixture(scope="session")
def running_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replication]:
    """The servers, for all tests of this folder."""
    with replication(tmp_path_factory.mktemp("replication")) as pair:
        yield pair


@pytest.fixture
def pair(running_pair: Replication) -> Iterator[Replication]:
    """The servers, mended after the test."""
    try:
        yield running_pair
    finally:
        running_pair.mend()


Serve = Callable[..., AbstractContextManager[Replicated]]


@pytest.fixture
def serve(test_run: TestRun, pair: Replication, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Start the service on a database of its own; keywords are settings."""
    made: list[ReplicaReads] = []

    class Noted(ReplicaReads):
        """Is what it is, and known to the test."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(assembly, "ReplicaReads", Noted)

    @contextmanager
    def served(**settings: Any) -> Iterator[Replicated]:
        hosts = f"{pair.replica.host}:{pair.replica.port}"
        chosen = {
            "mysql_replica_hosts": hosts,
            "mysql_replica_max_lag_ms": MAX_LAG_MS,
            # A replica that a busy machine has answer late stays in use, and its failures are not counted anew.
            "mysql_replica_timeout_ms": PATIENCE_MS,
            **settings,
        }
        with (
            migrated_mysql(test_run, pair.primary) as database,
            users_service(database, **chosen) as server,
        ):
            running = Replicated(server, pair, made[-1])
            # A busy machine is late in looking at replicas, which is no lag of theirs.
            running.bear(AN_HOUR)
            yield running

    return served


@pytest.fixture
def replicated(serve: Serve) -> Iterator[Replicated]:
    """The service, with its replica in use."""
    with serve() as running:
        wait_for(running.used, "the replica in use")
        yield running


async def until(happens: Callable[[], bool]) -> None:
    """Wait until ``happens()`` is true."""
    await asyncio.to_thread(wait_for, happens, "what the replica does")
