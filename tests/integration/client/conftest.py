"""One pair for all tests of the client, which are run in one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.database_fixtures import migrated_mongodb, migrated_mysql
from tests.harness.database_servers import MongoServer, MySQLServer, TestRun
from tests.harness.pair import Pair, running_pair


@pytest.fixture(scope="session")
def pair(test_run: TestRun, mysql_server: MySQLServer, mongodb_server: MongoServer) -> Iterator[Pair]:
    """Run the pair for the tests of this folder: its start takes longer than all that they do."""
    with (
        migrated_mysql(test_run, mysql_server) as mysql,
        migrated_mongodb(test_run, mongodb_server) as mongodb,
        running_pair(mysql, mongodb) as both,
    ):
        yield both
