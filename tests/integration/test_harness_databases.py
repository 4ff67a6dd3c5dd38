"""The harness's own promise: real servers, and a database that no other test has touched."""

from __future__ import annotations

import pymongo
import pytest

from tests.harness.database_servers import MongoServer, MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql


@pytest.mark.parametrize("attempt", [1, 2])
def test_mysql_database_starts_empty(
    mysql_server: MySQLServer, mysql_empty_database: MySQLDatabase, attempt: int
) -> None:
    """A table that one test made is not seen by the next."""
    name = mysql_empty_database.name
    assert run_mysql(mysql_server, ["SHOW TABLES"], database=name) == []
    run_mysql(mysql_server, ["CREATE TABLE left_behind (id INT)"], database=name)


def test_mysql_server_is_as_in_production(mysql_server: MySQLServer) -> None:
    """Timestamps are UTC and text is utf8mb4, wherever the server comes from."""
    assert run_mysql(mysql_server, ["SELECT @@time_zone, @@character_set_server"]) == [("+00:00", "utf8mb4")]


@pytest.mark.parametrize("attempt", [1, 2])
def test_mongodb_database_starts_empty(mongodb_empty_database: MongoDatabase, attempt: int) -> None:
    """A document that one test wrote is not seen by the next."""
    with pymongo.MongoClient[dict[str, object]](mongodb_empty_database.url) as client:
        collection = client.get_default_database()["left_behind"]
        assert collection.count_documents({}) == 0
        collection.insert_one({})


def test_mongodb_is_a_replica_set(mongodb_server: MongoServer) -> None:
    """Transactions and change streams work: the server is a replica set with a primary."""
    with pymongo.MongoClient[dict[str, object]](mongodb_server.url) as client, client.start_session() as session:
        with session.start_transaction():
            client["vw_test_transactions"]["rows"].insert_one({}, session=session)
            session.abort_transaction()
        assert client.admin.command("hello")["setName"] == "rs0"
