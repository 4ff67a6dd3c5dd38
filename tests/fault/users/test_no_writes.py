"""MySQL answers and takes no writes: reads go on, writers are told, and all is well as soon as the cause is gone."""

from __future__ import annotations

import asyncio
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import asyncmy.errors
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import BatchGetUsersRequest, CreateUserRequest, GetUserRequest, ListUsersRequest

from script.local.mysql import LocalMySQL
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import wait_for
from tests.harness.proxy import proxy_to
from tests.harness.schema_templates import migrate
from tests.harness.users import BlockingStubs, reason, retry_seconds, users_service
from tests.integration.telemetry.scraping import metrics_port, scrape

# As many as there are connections, and more.
AT_ONCE: Final = 16
# One file holds every table; logs that lie there in full size are smaller than what it may grow to.
ONE_FILE: Final = (
    *("--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend", "--innodb-autoextend-increment=1"),
    *("--loose-innodb-log-file-size=8M", "--loose-innodb-redo-log-capacity=8M"),
)
REFUSED: Final = "UNAVAILABLE DATABASE_UNAVAILABLE, again after 1.0 s"
FULL_BYTES: Final = 24 * 1024 * 1024


def server_with_database(directory: Path, *options: str) -> tuple[LocalMySQL, MySQLServer, MySQLDatabase]:
    """Start a server, and make the service's database there, whose account is no administrator's."""
    local = LocalMySQL(directory, MySQLAccount("admin", "admin"), options=options)
    local.start()
    server = MySQLServer(LOOPBACK, local.port, "admin", "admin")
    account = f"'service'@'{LOOPBACK}'"
    made = ["CREATE DATABASE vibework", f"CREATE USER {account} IDENTIFIED BY 'service'"]
    run_mysql(server, [*made, f"GRANT ALL PRIVILEGES ON vibework.* TO {account}"])
    database = MySQLDatabase(LOOPBACK, local.port, "service", "service", "vibework")
    migrate("users_service", database.environment())
    return local, server, database


def limit_files(local: LocalMySQL, limit: int) -> None:
    """Let no file of the server grow beyond a size: what a full disk does, without one."""
    assert local.process is not None
    resource.prlimit(local.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def create(stubs: BlockingStubs, name: str) -> str:
    """Create a user; return its id, or the code and reason of the refusal."""
    try:
        return str(stubs.users.CreateUser(CreateUserRequest(email=f"{name}@example.com")).user.id)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return f"{code.name} {reason(error)}, again after {retry_seconds(error)} s"


def create_at_once(stubs: BlockingStubs, name: str) -> list[str]:
    """Create more users at once than there are connections."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda number: create(stubs, f"{name}{number}"), range(AT_ONCE)))


def refusal(outcome: str) -> bool:
    """Whether it is no id."""
    return not outcome.startswith("user_")


def serving(channel: grpc.Channel) -> bool:
    """Whether health says so."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest())
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def metric(port: int, name: str, **labels: str) -> float:
    """Return the value of a metric."""
    return asyncio.run(scrape(port)).value(name, **labels)


@pytest.mark.long
def test_a_read_only_server(tmp_path: Path) -> None:
    """Reads and health go on, every write is told to come back, and every connection writes again once it may."""
    local, server, database = server_with_database(tmp_path)
    try:
        port, metrics = metrics_port()
        with users_service(database, **metrics) as served, served.channel() as channel:
            stubs = BlockingStubs.on(channel)
            before = create_at_once(stubs, "before")
            assert not any(map(refusal, before))
            run_mysql(server, ["SET GLOBAL read_only = 1"])
            assert set(create_at_once(stubs, "during")) == {REFUSED}
            assert stubs.users.GetUser(GetUserRequest(id=before[0])).user.id == before[0]
            assert len(stubs.users.ListUsers(ListUsersRequest(page_size=100)).users) == AT_ONCE
            assert serving(channel)
            assert metric(port, "vibework_database_writable", driver="mysql") == 0
            assert metric(port, "vibework_database_refusals_total", cause="read_only") >= AT_ONCE
            run_mysql(server, ["SET GLOBAL read_only = 0"])
            assert not any(map(refusal, create_at_once(stubs, "after")))
            wait_for(lambda: metric(port, "vibework_database_writable", driver="mysql") == 1, "the next look")
    finally:
        local.kill()


@pytest.mark.long
def test_a_full_disk(tmp_path: Path) -> None:
    """A write without room is told to come back, reads go on, and writes succeed at once when there is room."""
    local, server, database = server_with_database(tmp_path, *ONE_FILE)
    limit_files(local, FULL_BYTES)
    port, metrics = metrics_port()
    try:
        with users_service(database, **metrics) as served, served.channel() as channel:
            stubs = BlockingStubs.on(channel)
            first = create(stubs, "first")
            made = "CREATE TABLE filler (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB) ENGINE=InnoDB"
            fill = "INSERT INTO filler (data) VALUES (REPEAT('x', 500000))"
            with pytest.raises(asyncmy.errors.OperationalError, match="is full"):
                run_mysql(server, [made, *[fill] * 100], database="vibework")
            # There is room in pages that were begun.
            refused = next(filter(refusal, (create(stubs, f"during{number}") for number in range(3_000))))
            assert refused == REFUSED
            assert stubs.users.GetUser(GetUserRequest(id=first)).user.id == first
            assert serving(channel)
            assert metric(port, "vibework_database_writable", driver="mysql") == 0
            assert metric(port, "vibework_database_refusals_total", cause="disk_full") >= 1
            limit_files(local, resource.RLIM_INFINITY)
            assert not any(map(refusal, create_at_once(stubs, "after")))
    finally:
        local.kill()


@pytest.mark.long
def test_reads_leave_a_primary_that_only_reads(tmp_path: Path) -> None:
    """After a failover in which nobody wrote, no read is answered by the old primary any more."""
    (first, old, database), (second, new, _) = (server_with_database(tmp_path / name) for name in ("old", "new"))
    run_mysql(
        new,
        ["INSERT INTO users (id, email, email_normalized) VALUES ('new', 'n@x.org', 'n@x.org')"],
        database="vibework",
    )
    try:
        with (
            proxy_to(old.host, old.port) as name,
            users_service(database, mysql_port=name.listens) as served,
            served.channel() as channel,
        ):
            stubs = BlockingStubs.on(channel)

            def found() -> list[bool]:
                batch = stubs.users.BatchGetUsers(BatchGetUsersRequest(ids=["new"])).users
                return [bool(batch), bool(stubs.users.ListUsers(ListUsersRequest()).users)]

            assert found() == [False, False]
            run_mysql(old, ["SET GLOBAL read_only = 1"])
            # What is open stays open; what is opened from now on leads to the new primary.
            name.host, name.port = new.host, new.port
            wait_for(lambda: found() == [True, True], "the next look at the old primary")
            assert all(found() == [True, True] for _ in range(20))
    finally:
        first.kill()
        second.kill()
