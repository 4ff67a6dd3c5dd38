"""The cluster: two processes of each service, a MySQL primary with a replica, three members of MongoDB, and proxies."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pymongo
from vibework.client import TLS
from vibework.testing.local import mail, ports

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.harness.mongodb_members import ReplicaSet, replica_set
from tests.harness.mysql_replication import Replication, replication
from tests.harness.proxy import Proxy, proxy_to
from tests.harness.schema_templates import migrate
from tests.harness.users import SECRET_KEYS
from tests.reliability.certificates import Certificates
from tests.reliability.load.lives import PUSH_KEY
from tests.reliability.processes import Served

PROCESSES: Final = 2
DATABASE: Final = "vibework"
# The services' own account, which is no administrator's: what is read-only, is so for it.
ACCOUNT: Final = "service"
PACKAGES: Final = {"users": "users_service", "notifications": "notifications_service"}
# What was acknowledged outlives the kill of a server; a commit waits until the replica has it, for as long as it takes.
OF_PRIMARY: Final = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=1",
    # The binary log must be able to outgrow every file of InnoDB (faults.largest_files).
    "--loose-innodb-log-file-size=8M",
    "--loose-innodb-redo-log-capacity=8M",
    "--loose-rpl-semi-sync-master-enabled=ON",
    "--loose-rpl-semi-sync-master-wait-point=AFTER_SYNC",
    "--loose-rpl-semi-sync-master-timeout=10000",
)
OF_REPLICA: Final = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=1",
    "--loose-rpl-semi-sync-slave-enabled=ON",
)
# As large as the data of a run with room to spare.
TMPFS_SIZE: Final = "600m"


@dataclass
class Cluster:
    """All of it, running."""

    folder: Path
    mysql: Replication
    mysql_proxy: Proxy
    mongodb: ReplicaSet
    users: Sequence[Served]
    notifications: Sequence[Served]
    # Whether the data of MySQL's primary, and of each member of MongoDB, lie on a file system of their own.
    has_small_disks: bool
    # Of the services, while they have TLS.
    certificates: Certificates | None = None

    @property
    def served(self) -> Sequence[Served]:
        """All processes of services."""
        return [*self.users, *self.notifications]

    def of(self, side: str) -> Sequence[Served]:
        """Return the processes of a service."""
        return self.users if side == "users" else self.notifications

    @property
    def addresses(self) -> tuple[list[str], list[str]]:
        """Where both services are called."""
        return [each.address for each in self.users], [each.address for each in self.notifications]

    @property
    def tls(self) -> TLS | None:
        """How the services are called; None: in plain text."""
        return None if self.certificates is None else self.certificates.of_callers

    @contextmanager
    def with_tls(self) -> Iterator[None]:
        """Run the services with TLS for as long as the context lasts; they are restarted before and after it."""
        made = Certificates(Path(tempfile.mkdtemp(prefix="certificates-", dir=self.folder)))
        # A certificate is for one name, so each process knows one of the other service.
        known = {"USERS_ADDRESS": self.users[0].address, "NOTIFICATIONS_ADDRESS": self.notifications[0].address}
        self._restart(made.of_callers, **made.settings, **known)
        self.certificates = made
        try:
            yield
        finally:
            self.certificates = None
            self._restart(None)

    def _restart(self, tls: TLS | None, **more: str) -> None:
        for each in self.served:
            each.stop()
            each.tls, each.more = tls, more
            each.begin()
        for each in self.served:
            each.wait()

    @property
    def primary(self) -> MySQLServer:
        """The server of the users service's database, with an administrator's account, past all proxies."""
        made = self.mysql.primary
        return MySQLServer(ports.LOOPBACK, self.mysql_proxy.port, made.user, made.password)

    def rows(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements there; return the rows of the last."""
        return run_mysql(self.primary, list(statements), database=DATABASE)

    @contextmanager
    def collections(self) -> Iterator[Any]:
        """Open the notifications service's database."""
        primary = self.mongodb.await_primary()
        with pymongo.MongoClient[dict[str, Any]](ports.LOOPBACK, primary.port, directConnection=True) as client:
            yield client[DATABASE]


@contextmanager
def running_cluster(folder: Path, **settings: str) -> Iterator[Cluster]:
    """Run a cluster for as long as the context lasts; ``settings``: environment variables of all its services."""
    with ExitStack() as running:
        small = _mounted(folder / "mysql" / "primary", running)
        for number in range(3 if small else 0):
            _mounted(folder / "mongodb" / f"member-{number}", running)
        mysql = running.enter_context(replication(folder / "mysql", OF_PRIMARY, OF_REPLICA))
        mysql_proxy = running.enter_context(proxy_to(mysql.primary.host, mysql.primary.port))
        mongodb = running.enter_context(replica_set(folder / "mongodb"))
        account = f"'{ACCOUNT}'@'{ports.LOOPBACK}'"
        made = [f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4", f"CREATE USER {account} IDENTIFIED BY '{ACCOUNT}'"]
        run_mysql(mysql.primary, [*made, f"GRANT ALL PRIVILEGES ON {DATABASE}.* TO {account}"])
        databases = _databases(mysql_proxy, mongodb)
        with ThreadPoolExecutor() as both:
            list(both.map(partial(migrate, environment=databases), PACKAGES.values()))
        # Written to by those who look whether it takes writes.
        run_mysql(mysql.primary, ["CREATE TABLE of_suite (id INT PRIMARY KEY, at DOUBLE)"], database=DATABASE)
        served = serving(folder, databases, dict.fromkeys(PACKAGES, PROCESSES), running, **settings)
        yield Cluster(folder, mysql, mysql_proxy, mongodb, served["users"], served["notifications"], small)


@dataclass
class Small:
    """Processes of both services on databases that others run."""

    users: Sequence[Served]
    notifications: Sequence[Served]
    mysql: MySQLDatabase
    mongodb: MongoDatabase

    @property
    def addresses(self) -> tuple[list[str], list[str]]:
        """Where both services are called."""
        return [each.address for each in self.users], [each.address for each in self.notifications]

    def rows(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on the users service's database; return the rows of the last."""
        server = MySQLServer(self.mysql.host, self.mysql.port, self.mysql.user, self.mysql.password)
        return run_mysql(server, list(statements), database=self.mysql.name)

    @contextmanager
    def collections(self) -> Iterator[Any]:
        """Open the notifications service's database."""
        with pymongo.MongoClient[dict[str, Any]](self.mongodb.url) as client:
            yield client.get_default_database()


@contextmanager
def running_small(mysql: MySQLDatabase, mongodb: MongoDatabase, folder: Path, **settings: str) -> Iterator[Small]:
    """Run two processes of the users service and one of the other for as long as the context lasts."""
    with ExitStack() as running:
        databases = {**mysql.environment(), **mongodb.environment()}
        served = serving(folder, databases, {"users": PROCESSES, "notifications": 1}, running, **settings)
        yield Small(served["users"], served["notifications"], mysql, mongodb)


def serving(
    folder: Path, databases: Mapping[str, str], processes: Mapping[str, int], running: ExitStack, **settings: str
) -> Mapping[str, Sequence[Served]]:
    """Run so many processes of each service, each knowing all of the other, until the stack is closed."""
    served = {
        side: [_served(side, number, folder, running) for number in range(count)] for side, count in processes.items()
    }
    reached = {
        f"{side.upper()}_ADDRESS": "ipv4:" + ",".join(each.address for each in of_side)
        for side, of_side in served.items()
    }
    each_of = [each for of_side in served.values() for each in of_side]
    for each in each_of:
        each.settings = {**_COMMON, **mail.settings(ports.free_port()), **databases, **reached, **settings}
        running.callback(each.kill)
        each.begin()
    for each in each_of:
        each.wait()
    return served


_COMMON: Final[Mapping[str, str]] = {
    "SECRET_KEYS": SECRET_KEYS,
    "LOG_FORMAT": "json",
    # Mails are counted, and nobody sends them.
    "DELIVERY": "separate",
    "WEB_PUSH_KEYS": f"{PUSH_KEY}:{base64.b64encode(bytes(31) + b'1').decode()}",
    "WEB_PUSH_SUBJECT": "mailto:ops@vibework.example",
    # Longest time of a call: shorter than the default, so that a fault may last longer than every timeout.
    "GRPC_MAX_DEADLINE_MS": "8000",
    "ATTEMPTS_PER_ADDRESS": "100000",
}


def _databases(proxy: Proxy, mongodb: ReplicaSet) -> dict[str, str]:
    hosts, _, options = mongodb.url.partition("/?")
    return {
        "MYSQL_HOST": ports.LOOPBACK,
        "MYSQL_PORT": str(proxy.listens),
        "MYSQL_USER": ACCOUNT,
        "MYSQL_PASSWORD": ACCOUNT,
        "MYSQL_DATABASE": DATABASE,
        "MONGODB_URL": f"{hosts}/{DATABASE}?{options}",
    }


def _served(side: str, number: int, folder: Path, running: ExitStack) -> Served:
    port = ports.free_port()
    proxy = running.enter_context(proxy_to(ports.LOOPBACK, port))
    return Served(f"{side}-{number}", PACKAGES[side], port, proxy, {}, folder)


def _mounted(directory: Path, running: ExitStack) -> bool:
    """Give a folder a file system of its own, in memory; return whether that is allowed here."""
    directory.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_SIZE}", "vibework-faults", str(directory)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            running.callback(subprocess.run, ["umount", "--lazy", str(directory)], capture_output=True, check=False)
            return True
    return False
