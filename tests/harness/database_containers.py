"""The database servers of a test run as containers, through testcontainers: mysql:8.4 and mongo:6.0."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vibework.testing.local import ports
from vibework.testing.local.mongodb import COMPRESSORS, REPLICA_SET, make_primary
from vibework.testing.local.problems import LocalProblem

from tests.harness.database_servers import MongoServer, MySQLServer
from tests.harness.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

MYSQL_IMAGE = "mysql:8.4"
MONGODB_IMAGE = "mongo:6.0"
MONGODB_PORT = 27017


@contextmanager
def mysql(directory: Path, options: Sequence[str] = ()) -> Iterator[MySQLServer]:
    """Run mysql:8.4; `options`: more of the server's own, which may name files of the directory.

    The container keeps its own data, and may read the directory.
    """
    _prefer_no_reaper()
    from testcontainers.community.mysql import MySqlContainer

    password = secrets.token_hex(16)
    container = MySqlContainer(MYSQL_IMAGE, username="root", root_password=password, password=password, dbname="first")
    usual = "--character-set-server=utf8mb4 --default-time-zone=+00:00 --max-connections=500"
    container.with_command(" ".join([usual, *options]))
    container.with_volume_mapping(str(directory), str(directory))
    with container:
        # It is on this machine, whose folder it has, though testcontainers may name another address of that.
        yield MySQLServer(ports.LOOPBACK, int(container.get_exposed_port(3306)), "root", password)


@contextmanager
def mongodb(directory: Path, options: Sequence[str] = ()) -> Iterator[MongoServer]:
    """Run mongo:6.0 as a replica set of one member; directory and options as those of `mysql`.

    The member is known by its address outside of the container, because clients of a replica set go to the
    address that it names; so the port is the same on both sides.
    """
    _prefer_no_reaper()
    from testcontainers.core.container import DockerContainer

    port = ports.free_port()
    container = DockerContainer(MONGODB_IMAGE).with_bind_ports(port, port)
    # Test commands, so that a test can make the server fail (configureFailPoint).
    usual = f"mongod --replSet {REPLICA_SET} --port {port} {COMPRESSORS} --setParameter enableTestCommands=1"
    container.with_command(" ".join([usual, *options]))
    container.with_volume_mapping(str(directory), str(directory))
    with container:
        _make_primary(container, port)
        yield MongoServer(f"mongodb://{ports.LOOPBACK}:{port}/?replicaSet={REPLICA_SET}")


def _make_primary(container: DockerContainer, port: int) -> None:
    from pymongo.errors import PyMongoError

    try:
        make_primary(port, timeout=PATIENCE_SECONDS)
    except PyMongoError:
        output, errors = container.get_logs()
        detail = (output + errors).decode(errors="replace")[-2000:]
        raise LocalProblem(f"{MONGODB_IMAGE} did not become a primary", detail=detail) from None


def _prefer_no_reaper() -> None:
    """Leave out the reaper container: the keeper ends the containers, and its image may not be at hand."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
