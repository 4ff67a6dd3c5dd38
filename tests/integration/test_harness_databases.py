"""The harness's own promise: real servers, and a database that no other test has touched."""

from __future__ import annotations

import pymongo
import pytest

from tests.harness.database_servers import MongoServer, MySQLServer, from_environment
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.harness.schema_templates import migrate


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


def test_mongodb_takes_no_message_compressed_with_zlib(mongodb_server: MongoServer) -> None:
    """By such a message whoever reaches the port of an older mongod reads its memory (CVE-2025-14847)."""
    if from_environment("mongodb") == mongodb_server:
        pytest.skip("the server is not ours")
    with pymongo.MongoClient[dict[str, object]](mongodb_server.url) as client:
        offered = ["zlib", "snappy", "zstd"]
        assert client.admin.command("hello", compression=offered)["compression"] == ["snappy", "zstd"]


@pytest.mark.long
def test_mysql_copy_equals_what_migrations_make(
    mysql_server: MySQLServer, mysql_empty_database: MySQLDatabase, mysql_database: MySQLDatabase
) -> None:
    """Tests run on the schema that `users-service migrate up` makes, not on something like it."""
    migrate("users_service", mysql_empty_database.environment())
    assert described(mysql_server, mysql_database) == described(mysql_server, mysql_empty_database)


@pytest.mark.long
def test_mongodb_copy_equals_what_migrations_make(
    mongodb_empty_database: MongoDatabase, mongodb_database: MongoDatabase
) -> None:
    """Tests run on the collections that `notifications-service migrate up` makes, not on something like them."""
    migrate("notifications_service", mongodb_empty_database.environment())
    assert collections(mongodb_database) == collections(mongodb_empty_database)


def described(server: MySQLServer, database: MySQLDatabase) -> dict[str, str]:
    """Return each table's definition, without the character set that MySQL names or not, as it was made."""
    tables = [row[0] for row in run_mysql(server, ["SHOW TABLES"], database=database.name)]
    assert tables
    definitions = [run_mysql(server, [f"SHOW CREATE TABLE `{table}`"], database=database.name)[0] for table in tables]
    return {name: definition.replace(" CHARACTER SET utf8mb4", "") for name, definition in definitions}


def collections(database: MongoDatabase) -> dict[str, object]:
    """Return each collection's options, indexes and number of documents."""
    with pymongo.MongoClient[dict[str, object]](database.url) as client:
        found = client.get_default_database()
        listed = {row["name"]: row["options"] for row in found.list_collections()}
        assert listed
        return {
            name: (options, found[name].index_information(), found[name].count_documents({}))
            for name, options in sorted(listed.items())
        }
