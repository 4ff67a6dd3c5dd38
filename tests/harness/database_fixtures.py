"""Fixtures that give a test its databases, and the option that says where the servers come from.

| fixture | what it is |
|---|---|
| `mysql_server`, `mongodb_server` | the run's servers |
| `mysql_database`, `mongodb_database` | a database of the test's own, with the migrated schema |
| `mysql_module_database`, `mongodb_module_database` | the same, shared by the tests of one module |
| `mysql_empty_database`, `mongodb_empty_database` | a database of the test's own, without any schema |
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from vibework.testing.local.problems import LocalProblem

from tests.harness.database_servers import MongoServer, MySQLServer, Source, TestRun
from tests.harness.databases import MongoDatabase, MySQLDatabase, new_mongodb_database, new_mysql_database
from tests.harness.schema_templates import copy_mongodb_schema, copy_mysql_schema


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--databases`."""
    parser.addoption(
        "--databases",
        choices=["local", "containers", "vitess"],
        default=None,
        help="database servers as local processes or containers, or MySQL behind a sharded Vitess; default: those that "
        "MYSQL_HOST and MONGODB_URL name, else local ones",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start with nothing of an earlier run."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        this_run(config).clear()
        if config.getoption("--databases") == "vitess":
            _need_vitess()


def _need_vitess() -> None:
    """Find or build what is needed, which may take half an hour, before the first test waits for it."""
    from tests.harness.vitess import program, servers

    try:
        program.find_or_build()
        servers.require_mysql()
    except LocalProblem as problem:
        raise pytest.UsageError(f"{problem}\n{problem.detail}") from None


def this_run(config: pytest.Config) -> TestRun:
    """Return the run that this process belongs to; an xdist worker's run is its controller's."""
    source: Source | None = config.getoption("--databases")
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return TestRun(owner, source)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked `containers` out of runs that do not use containers, and so those of `vitess`."""
    source = config.getoption("--databases")
    if source == "vitess":
        from tests.harness.vitess import exceptions

        exceptions.skip(items)
    for name in ("containers", "vitess"):
        if source == name:
            continue
        left_out = [item for item in items if item.get_closest_marker(name)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(name)]


@pytest.fixture(scope="session")
def test_run(request: pytest.FixtureRequest) -> TestRun:
    """The run that this process belongs to."""
    return this_run(request.config)


@pytest.fixture(scope="session")
def mysql_server(test_run: TestRun) -> MySQLServer:
    """The MySQL server of this run."""
    return test_run.mysql()


@pytest.fixture(scope="session")
def mongodb_server(test_run: TestRun) -> MongoServer:
    """The MongoDB replica set of this run."""
    return test_run.mongodb()


@contextmanager
def migrated_mysql(run: TestRun, server: MySQLServer) -> Iterator[MySQLDatabase]:
    """Make a database with the migrated schema for as long as the context lasts."""
    with new_mysql_database(server) as database:
        copy_mysql_schema(run, server, database)
        yield database


@contextmanager
def migrated_mongodb(run: TestRun, server: MongoServer) -> Iterator[MongoDatabase]:
    """Make a database with the migrated schema for as long as the context lasts."""
    with new_mongodb_database(server) as database:
        copy_mongodb_schema(run, server, database)
        yield database


@pytest.fixture
def mysql_database(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A MySQL database of this test's own, with the migrated schema."""
    with migrated_mysql(test_run, mysql_server) as database:
        yield database


@pytest.fixture(scope="module")
def mysql_module_database(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A MySQL database with the migrated schema, shared by the tests of this module."""
    with migrated_mysql(test_run, mysql_server) as database:
        yield database


@pytest.fixture
def mysql_empty_database(mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A MySQL database of this test's own, without tables."""
    with new_mysql_database(mysql_server) as database:
        yield database


@pytest.fixture
def mongodb_database(test_run: TestRun, mongodb_server: MongoServer) -> Iterator[MongoDatabase]:
    """A MongoDB database of this test's own, with the migrated schema."""
    with migrated_mongodb(test_run, mongodb_server) as database:
        yield database


@pytest.fixture(scope="module")
def mongodb_module_database(test_run: TestRun, mongodb_server: MongoServer) -> Iterator[MongoDatabase]:
    """A MongoDB database with the migrated schema, shared by the tests of this module."""
    with migrated_mongodb(test_run, mongodb_server) as database:
        yield database


@pytest.fixture
def mongodb_empty_database(mongodb_server: MongoServer) -> Iterator[MongoDatabase]:
    """A MongoDB database of this test's own, without collections."""
    with new_mongodb_database(mongodb_server) as database:
        yield database
