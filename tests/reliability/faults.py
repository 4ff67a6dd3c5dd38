"""The faults: each is a context, which begins with the fault and ends with its end.

What a fault takes away is in ``away``: the service whose database nobody reaches, so that its health must say so.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import string
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError
from vibework.testing.local import ports
from vibework.testing.local.database_servers import LocalDatabaseServer
from vibework.testing.local.problems import LocalProblem

from script.local.mongodb import LocalMongoDB
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.proxy import Proxy
from tests.harness.statements import holding
from tests.harness.workers import healthy
from tests.reliability.certificates import Certificates, channel
from tests.reliability.cluster import DATABASE, PACKAGES, Cluster

# Seconds that a fault lasts: to be noticed by whoever looks every two seconds; longer than every timeout; a minute.
SHORT: Final = 3.0
NOTICED: Final = 7.0
LONG: Final = 12.0
MINUTE: Final = 60.0
# What operators wait between the processes of a rolling restart (minReadySeconds of the manifests).
BETWEEN_RESTARTS: Final = 5.0
# How long certificates hold that are to expire: all clients read them meanwhile, and connect.
EXPIRES_SECONDS: Final = 15.0

Begin = Callable[[Cluster], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One fault. ``patient``: the load is of patient clients alone, and none of their calls may fail.

    ``fills_disk``: it takes databases on small file systems of their own. ``tls``: the services have TLS, and demand
    certificates.
    """

    name: str
    begin: Begin
    seconds: float = SHORT
    away: str = ""
    patient: bool = False
    fills_disk: bool = False
    tls: bool = False


@contextmanager
def nothing(_: Cluster) -> Iterator[None]:
    """No fault: what the others are compared with."""
    yield


@contextmanager
def kill(cluster: Cluster, side: str) -> Iterator[None]:
    """Kill a process of a service, and start it again."""
    cluster.of(side)[0].kill()
    yield
    cluster.of(side)[0].start()


@contextmanager
def hang(cluster: Cluster, side: str) -> Iterator[None]:
    """Suspend a process of a service."""
    cluster.of(side)[0].hang()
    yield
    cluster.of(side)[0].go_on()


@contextmanager
def kill_mysql(cluster: Cluster) -> Iterator[None]:
    """Kill MySQL's primary, and start it again on the same data."""
    server = cluster.mysql.primary_process
    assert server is not None
    server.kill()
    yield
    server.begin()
    server.wait()


@contextmanager
def hang_mysql(cluster: Cluster) -> Iterator[None]:
    """Suspend MySQL's primary."""
    server = cluster.mysql.primary_process
    assert server is not None
    assert server.process is not None
    with suspended(server.process.pid):
        yield


@contextmanager
def kill_member(cluster: Cluster, *, primary: bool) -> Iterator[None]:
    """Kill a member of MongoDB's replica set, and start it again on the same data."""
    member = _member(cluster, primary=primary)
    member.kill()
    yield
    _restart(cluster, member)


@contextmanager
def hang_member(cluster: Cluster) -> Iterator[None]:
    """Suspend the primary of MongoDB's replica set; another is elected."""
    member = _member(cluster, primary=True)
    assert member.process is not None
    with suspended(member.process.pid):
        yield


@contextmanager
def election(cluster: Cluster) -> Iterator[None]:
    """Let the primary of MongoDB's replica set step down."""
    member = _member(cluster, primary=True)
    with (
        contextlib.suppress(PyMongoError),
        pymongo.MongoClient[dict[str, Any]](ports.LOOPBACK, member.port, directConnection=True) as client,
    ):
        client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
    yield
    cluster.mongodb.await_primary()


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Suspend a group of processes."""
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


def _member(cluster: Cluster, *, primary: bool) -> LocalMongoDB:
    elected = cluster.mongodb.await_primary()
    return elected if primary else next(each for each in cluster.mongodb.members if each is not elected)


def _restart(cluster: Cluster, member: LocalMongoDB) -> None:
    member.begin()
    wait_for(lambda: ports.is_taken(member.port), "a member of the replica set")
    cluster.mongodb.await_primary()


def _links(cluster: Cluster, to: str) -> list[Proxy]:
    """Return the proxies before a database, or before one process of each service."""
    if to == "mysql":
        return [cluster.mysql_proxy]
    if to == "mongodb":
        return list(cluster.mongodb.proxies)
    return [cluster.users[0].proxy, cluster.notifications[0].proxy]


@contextmanager
def network(cluster: Cluster, to: str, disturb: Callable[[Proxy], None]) -> Iterator[None]:
    """Disturb the network before something."""
    for proxy in _links(cluster, to):
        disturb(proxy)
    yield
    for proxy in _links(cluster, to):
        proxy.heal()


def late(proxy: Proxy) -> None:
    """Hold everything up by 50 to 150 ms."""
    proxy.slow(latency=0.05, jitter=0.1)


def dripping(proxy: Proxy) -> None:
    """Pass on 4 KiB a second."""
    proxy.slow(rate=4_096)


# Ways to disturb a connection, and whether nobody gets through meanwhile.
NETWORK: Final[dict[str, tuple[Callable[[Proxy], None], bool]]] = {
    "latency and jitter": (late, False),
    "slow drip": (dripping, False),
    "reset": (Proxy.reset, False),
    "black hole": (Proxy.freeze, True),
    "half-open": (Proxy.abandon, False),
    "no answers": (Proxy.mute, True),
    "no requests": (Proxy.deafen, True),
}


@contextmanager
def foreign_lock(cluster: Cluster) -> Iterator[None]:
    """Lock the tables of users from elsewhere, so that every connection of the pools comes to wait."""
    server = cluster.primary
    database = MySQLDatabase(server.host, server.port, server.user, server.password, DATABASE)
    with holding(database, "SELECT * FROM users FOR UPDATE"):
        yield


@contextmanager
def held_writes(cluster: Cluster) -> Iterator[None]:
    """Hold all writes of MongoDB's primary (fsync with a lock)."""
    member = _member(cluster, primary=True)
    with pymongo.MongoClient[dict[str, Any]](ports.LOOPBACK, member.port, directConnection=True) as client:
        client.admin.command("fsync", lock=True)
        try:
            yield
        finally:
            client.admin.command("fsyncUnlock")


@contextmanager
def read_only(cluster: Cluster) -> Iterator[None]:
    """Let MySQL take no writes."""
    cluster.rows("SET GLOBAL read_only = ON")
    yield
    cluster.rows("SET GLOBAL read_only = OFF")


@contextmanager
def connection_limit(cluster: Cluster) -> Iterator[None]:
    """Let MySQL accept hardly any connection, and break those there are."""
    ((usual,),) = cluster.rows("SELECT @@GLOBAL.max_connections")
    cluster.rows("SET GLOBAL max_connections = 10")
    cluster.mysql_proxy.reset()
    yield
    # An administrator has a connection of his own beyond the limit.
    cluster.rows(f"SET GLOBAL max_connections = {usual}")


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill the file system of a folder, which has to be the folder's own: that of the machine is others', too."""
    if not folder.is_mount():
        raise LocalProblem(f"{folder} has no file system of its own to fill")
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def full_disk_of_mysql(cluster: Cluster) -> Iterator[None]:
    """Leave MySQL's primary no room."""
    server = cluster.mysql.primary_process
    assert server is not None
    with full_disk(server.directory):
        yield


@contextmanager
def full_disk_of_mongodb(cluster: Cluster) -> Iterator[None]:
    """Leave the primary of MongoDB no room: it ends by itself, and another is elected."""
    member = _member(cluster, primary=True)
    with full_disk(member.directory):
        yield
    assert member.process is not None
    if member.process.exit_code is not None:
        _restart(cluster, member)


@contextmanager
def largest_files(server: LocalDatabaseServer) -> Iterator[None]:
    """Let no file of a server outgrow the largest that it has: a full disk where no small one can be had."""
    assert server.process is not None
    largest = max(each.stat().st_size for each in server.directory.rglob("*") if each.is_file())
    pid = server.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        # It may have ended of it.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def largest_files_of_mysql(cluster: Cluster) -> Iterator[None]:
    """Let the binary log of MySQL's primary grow no more, by which it refuses all writes.

    It outgrows the files of InnoDB first, which ends the server where one of its own cannot grow.
    """
    server = cluster.mysql.primary_process
    assert server is not None
    made = "CREATE TABLE of_disk (what LONGBLOB)", "INSERT INTO of_disk VALUES (REPEAT('a', 1 << 20))"
    cluster.rows(*made, *(f"UPDATE of_disk SET what = REPEAT('{each}', 1 << 20)" for each in string.ascii_letters[1:]))
    with largest_files(server):
        yield
    cluster.rows("DROP TABLE of_disk")


@contextmanager
def largest_files_of_mongodb(cluster: Cluster) -> Iterator[None]:
    """Let no file of MongoDB's primary grow at all: it ends by itself, and another is elected."""
    member = _member(cluster, primary=True)
    assert member.process is not None
    resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    yield
    wait_for(lambda: member.process is not None and member.process.exit_code is not None, "the primary to end")
    _restart(cluster, member)


@contextmanager
def expiring(cluster: Cluster) -> Iterator[None]:
    """Let the certificates of all expire, after half of a renewal, while their connections are open."""
    certificates = _expired(cluster)
    yield
    certificates.renew()


@contextmanager
def expired(cluster: Cluster) -> Iterator[None]:
    """Let the certificates of all expire, and break all connections, so that nobody gets through."""
    certificates = _expired(cluster)
    for each in cluster.served:
        each.proxy.reset()
        assert not each.is_serving(), f"{each.name} is called with a certificate that has expired"
    yield
    certificates.renew()


def _expired(cluster: Cluster) -> Certificates:
    """Let half of a renewal lie there, which is not taken; then the rest of one that soon expires, and let it."""
    certificates = cluster.certificates
    assert certificates is not None
    of_callers = certificates.of_callers.credentials()
    certificates.spoil()
    for each in cluster.served:
        with channel(each.port, certificates.of_callers, credentials=of_callers) as connection:
            assert healthy(connection), f"{each.name} did not keep the last certificate"
    certificates.renew(seconds=EXPIRES_SECONDS)
    time.sleep(EXPIRES_SECONDS + 1.0)
    return certificates


@contextmanager
def clock_ahead(cluster: Cluster) -> Iterator[None]:
    """Put the clocks of one process of each service five seconds ahead."""
    ahead = [cluster.users[0], cluster.notifications[0]]
    for each in ahead:
        each.stop()
        each.begin(CLOCK_AHEAD_SECONDS="5")
    for each in ahead:
        each.wait()
    yield
    for each in ahead:
        each.stop()
        each.begin()
    for each in ahead:
        each.wait()


@contextmanager
def away(cluster: Cluster, side: str) -> Iterator[None]:
    """Take one service away; halfway, a process of the other is killed and started again."""
    other = cluster.of("users" if side == "notifications" else "notifications")[0]
    for each in cluster.of(side):
        each.kill()
    time.sleep(MINUTE / 3)
    other.kill()
    other.start()
    yield
    for each in cluster.of(side):
        each.begin()
    for each in cluster.of(side):
        each.wait()


@contextmanager
def rolling_restart(cluster: Cluster) -> Iterator[None]:
    """Restart every process in turn, as docs/operations.md tells operators to."""
    for each in cluster.served:
        code = each.stop()
        assert code == 0, f"{each.name} ended with code {code}"
        each.start()
        time.sleep(BETWEEN_RESTARTS)
    yield


@contextmanager
def one_port(cluster: Cluster) -> Iterator[None]:
    """Start two processes of a service on one port at once: one serves, and the other says what is in its way."""
    first = cluster.users[0]
    first.stop()
    logged = first.log.stat().st_size
    first.begin()
    winner = first.process
    first.begin()
    both = [each for each in (winner, first.process) if each is not None]
    try:
        wait_for(lambda: any(each.exit_code is not None for each in both), "one of two on a port to give up")
        first.wait()
        running = [each for each in both if each.exit_code is None]
        assert len(running) == 1, f"{len(running)} of two processes on one port run"
        (first.process,) = running
        with first.log.open("rb") as log:
            log.seek(logged)
            # Whichever of its two ports came first.
            refused = rf"cannot (listen|serve metrics) on \S+:({first.port}|{first.metrics}): the port is taken"
            assert re.search(refused, log.read().decode()), "the other does not say which port was taken"
    finally:
        for each in both:
            if each is not first.process:
                each.kill()
    yield


@contextmanager
def fail_over(cluster: Cluster) -> Iterator[None]:
    """Kill MySQL's primary, promote the replica, and lead the name there; the old primary never comes back."""
    server = cluster.mysql.primary_process
    assert server is not None
    server.kill()
    yield
    cluster.mysql.promote()
    cluster.mysql_proxy.port = cluster.mysql.replica.port
    cluster.mysql_proxy.reset()


def _network(to: str, name: str) -> Fault:
    disturb, cuts = NETWORK[name]
    side = {"mysql": "users", "mongodb": "notifications"}.get(to, "") if cuts else ""
    seconds = NOTICED if side else SHORT
    return Fault(f"{name} before {to}", partial(network, to=to, disturb=disturb), seconds, side)


FAULTS: Final = (
    Fault("none", nothing),
    *(Fault(f"kill -9 of a {side} process", partial(kill, side=side)) for side in ("users", "notifications")),
    Fault("kill -9 of MySQL", kill_mysql, NOTICED, "users"),
    Fault("kill -9 of MongoDB's primary", partial(kill_member, primary=True)),
    Fault("kill -9 of a secondary", partial(kill_member, primary=False)),
    *(Fault(f"SIGSTOP of a {side} process", partial(hang, side=side), LONG) for side in ("users", "notifications")),
    Fault("SIGSTOP of MySQL", hang_mysql, LONG, "users"),
    Fault("SIGSTOP of MongoDB's primary", hang_member, LONG),
    Fault("election", election),
    *(_network(to, name) for to in ("mysql", "mongodb", "services") for name in NETWORK),
    Fault("foreign lock on all users", foreign_lock, NOTICED),
    Fault("writes of MongoDB held", held_writes, NOTICED),
    Fault("MySQL read-only", read_only),
    Fault("MySQL at its connection limit", connection_limit),
    Fault("disk of MySQL full", full_disk_of_mysql, fills_disk=True),
    Fault("disk of MongoDB's primary full", full_disk_of_mongodb, fills_disk=True),
    Fault("files of MySQL may not grow", largest_files_of_mysql),
    Fault("files of MongoDB's primary may not grow", largest_files_of_mongodb),
    Fault("certificates expire", expiring, patient=True, tls=True),
    Fault("certificates expired, and connections broken", expired, NOTICED, tls=True),
    Fault("clocks of one process 5 s ahead", clock_ahead),
    *(Fault(f"{side} away for a minute", partial(away, side=side), MINUTE * 2 / 3) for side in PACKAGES),
    Fault("two processes on one port", one_port),
    Fault("rolling restart", rolling_restart, 1.0, patient=True),
    Fault("fail-over of MySQL", fail_over, SHORT),
)
