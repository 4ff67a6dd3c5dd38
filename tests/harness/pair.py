"""The pair as people run it: both commands, connected, each on a database of its own.

The fixture `pair` gives the pair shared by the tests of one module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.users import SECRET_KEYS
from tests.harness.workers import LOOPBACK, free_port, serving

NOWHERE: Final = Path(os.devnull)


@dataclass(frozen=True)
class Pair:
    """The addresses of both services, ``host:port``, and the databases behind them."""

    users: str
    notifications: str
    mysql: MySQLDatabase
    mongodb: MongoDatabase


@contextmanager
def running_pair(
    mysql: MySQLDatabase, mongodb: MongoDatabase, log: Path = NOWHERE, /, **settings: str
) -> Iterator[Pair]:
    """Run both services until the context ends.

    ``log``: the file that their logs go to. ``settings``: environment variables of both.
    """
    users, notifications = free_port(), free_port()
    addresses = {"USERS_ADDRESS": f"{LOOPBACK}:{users}", "NOTIFICATIONS_ADDRESS": f"{LOOPBACK}:{notifications}"}
    with ExitStack() as running:
        for package, port, database in (
            ("users_service", users, mysql),
            ("notifications_service", notifications, mongodb),
        ):
            running.enter_context(_running(package, port, {**database.environment(), **addresses, **settings}, log))
        yield Pair(addresses["USERS_ADDRESS"], addresses["NOTIFICATIONS_ADDRESS"], mysql, mongodb)


@contextmanager
def _running(package: str, port: int, settings: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a service's command until the context ends; it must then end by itself, and well."""
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "SECRET_KEYS": SECRET_KEYS, "GRPC_DRAIN_MS": "0"}
    variables = {**os.environ, **own, **settings, "GRPC_PORT": str(port)}
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", package, "serve"], env=variables, stdout=output)
    try:
        wait_for(lambda: serving(port), package)
        yield
    finally:
        process.terminate()
        ended = process.wait(PATIENCE_SECONDS)
    assert ended == 0


@pytest.fixture(scope="module")
def pair(mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase) -> Iterator[Pair]:
    """Run the pair for the tests of one module."""
    with running_pair(mysql_module_database, mongodb_module_database) as both:
        yield both
