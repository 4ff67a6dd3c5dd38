"""`users-service status` beside a primary and its replica: whether the replica follows, and how far behind it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.mysql_replication import Replication
from users_service.cli import main

pytestmark = pytest.mark.xdist_group("replication")


def replica(database: MySQLDatabase, pair: Replication) -> dict[str, Any]:
    """Return what the status tells of the replica."""
    hosts = f"{pair.replica.host}:{pair.replica.port}"
    environment = {**database.environment(), "MYSQL_REPLICA_HOSTS": hosts, "METRICS_PORT": "0"}
    result = CliRunner().invoke(main, ["status", "--json"], env=environment)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["sections"]["replicas"]["rows"]
    assert row["server"] == hosts
    assert row["source"] == f"{pair.primary.host}:{pair.primary.port}"
    return row  # type: ignore[no-any-return]


def test_a_replica_is_asked_how_it_follows(test_run: TestRun, pair: Replication) -> None:
    """Caught up it lags by nothing; stopped it does not apply, and its lag is not known."""
    with migrated_mysql(test_run, pair.primary) as database:
        pair.catch_up()
        row = replica(database, pair)
        assert (row["receives"], row["applies"], row["last_error"]) == (True, True, None)
        assert row["lag_seconds"] <= 1
        pair.stop_applying()
        row = replica(database, pair)
        assert (row["receives"], row["applies"], row["lag_seconds"]) == (True, False, None)
