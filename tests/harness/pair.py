"""The pair as people run it: both commands, connected, each on a database of its own.

The fixture `pair` gives the pair shared by the tests of one module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import pytest
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.users import SECRET_KEYS
from tests.harness.workers import serving

NOWHERE: Final = Path(os.devnull)
# A process takes seconds of a processor to start, of which a busy machine gives each a small part.
START_SECONDS: Final = 180.0
# Bytes of the log that are shown where a process ended instead of serving.
LAST_WORDS: Final = 2_000


@dataclass(frozen=True)
class Pair:
    """The addresses of both services, ``host:port``, and the databases behind them."""

    users: str
    notifications: str
    mysql: MySQLDatabase
    mongodb: MongoDatabase


@dataclass
class Side:
    """One service as a process that can be killed and started again, on the same port."""

    package: str
    port: int
    settings: Mapping[str, str]
    log: Path = NOWHERE
    serves: Callable[[int], bool] = serving
    command: str = "serve"
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens, ``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def has_ended(self) -> bool:
        """Say whether its process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "SECRET_KEYS": SECRET_KEYS, "GRPC_DRAIN_MS": "0"}
        variables = {**os.environ, **own, **self.settings, "GRPC_PORT": str(self.port)}
        with TemporaryFile() if self.log == NOWHERE else self.log.open("a+b") as output:
            command = [sys.executable, "-m", self.package, self.command]
            # gRPC's core writes to standard error by itself, which is a log as well.
            errors = None if self.log == NOWHERE else output
            self._process = subprocess.Popen(command, env=variables, stdout=output, stderr=errors)
            wait_for(lambda: self.has_ended() or self.serves(self.port), self.package, START_SECONDS)
            if self.has_ended():
                output.seek(0)
                raise AssertionError(f"{self.package} ended: {output.read()[-LAST_WORDS:].decode(errors='replace')}")

    def stop(self) -> None:
        """Let it end by itself, and well."""
        if self._process is not None:
            self._process.terminate()
            ended = self._process.wait(PATIENCE_SECONDS)
            self._process = None
            assert ended == 0, self.package

    def kill(self) -> None:
        """End it with SIGKILL, wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None


@dataclass(frozen=True)
class SeparatePair:
    """Both services, each to be started by itself, and their databases."""

    users: Side
    notifications: Side
    mysql: MySQLDatabase
    mongodb: MongoDatabase

    def start(self) -> None:
        """Start both."""
        self.users.start()
        self.notifications.start()


@contextmanager
def separate_pair(
    mysql: MySQLDatabase, mongodb: MongoDatabase, log: Path = NOWHERE, /, **settings: str
) -> Iterator[SeparatePair]:
    """Make both services, of which none runs yet; what runs in the end is ended.

    ``log``: the file that their logs go to. ``settings``: environment variables of both.
    """
    users, notifications = free_port(), free_port()
    addresses = {"USERS_ADDRESS": f"{LOOPBACK}:{users}", "NOTIFICATIONS_ADDRESS": f"{LOOPBACK}:{notifications}"}
    both = SeparatePair(
        Side("users_service", users, {**mysql.environment(), **addresses, **settings}, log),
        Side("notifications_service", notifications, {**mongodb.environment(), **addresses, **settings}, log),
        mysql,
        mongodb,
    )
    with ExitStack() as ending:
        for side in (both.users, both.notifications):
            ending.callback(side.stop)
        yield both


@contextmanager
def running_pair(
    mysql: MySQLDatabase, mongodb: MongoDatabase, log: Path = NOWHERE, /, **settings: str
) -> Iterator[Pair]:
    """Run both services until the context ends; see ``separate_pair``."""
    with separate_pair(mysql, mongodb, log, **settings) as both:
        both.start()
        yield Pair(both.users.address, both.notifications.address, mysql, mongodb)


@pytest.fixture(scope="module")
def pair(mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase) -> Iterator[Pair]:
    """Run the pair for the tests of one module."""
    with running_pair(mysql_module_database, mongodb_module_database) as both:
        yield both
