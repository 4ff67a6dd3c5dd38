"""The migrated schema, made once per test run by the services' own commands and copied into each database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pymongo
from bson import json_util

from tests.harness.database_servers import ROOT, MongoServer, MySQLServer, TestRun
from tests.harness.databases import (
    MongoDatabase,
    MySQLDatabase,
    new_mongodb_database,
    new_mysql_database,
    run_mysql,
)

MIGRATE_TIMEOUT_SECONDS = 120


class MigrationFailed(Exception):
    """A service's `migrate up` failed; its output is in the text."""


def migrate(package: str, environment: Mapping[str, str]) -> None:
    """Run `migrate up` of the service in the package, as an operator would."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    done = subprocess.run(
        [sys.executable, "-c", f"from {package}.cli import main; main()", "migrate", "up"],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=MIGRATE_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise MigrationFailed(f"{package} migrate up ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def copy_mysql_schema(run: TestRun, server: MySQLServer, target: MySQLDatabase) -> None:
    """Give an empty database all tables of the migrated schema and the rows that the migrations left."""
    if server.keyspaces:
        return  # they have it from the beginning
    # Of each kind of server: a run on MySQL starts some of MariaDB beside it, which write tables down differently.
    ((version,),) = run_mysql(server, ["SELECT VERSION()"])
    with run.only_one(f"mysql-template-{re.sub('[^A-Za-z0-9.]', '-', str(version))}") as result:
        if not result.exists():
            result.write_text(json.dumps(_mysql_template(server)))
        statements = json.loads(result.read_text())
    run_mysql(server, ["SET FOREIGN_KEY_CHECKS = 0", *statements], database=target.name)


def _mysql_template(server: MySQLServer) -> list[str]:
    """Migrate a database and return the statements that make another like it."""
    with new_mysql_database(server) as template:
        migrate("users_service", template.environment())
        tables = [str(row[0]) for row in run_mysql(server, ["SHOW TABLES"], database=template.name)]
        creates = [
            str(run_mysql(server, [f"SHOW CREATE TABLE `{table}`"], database=template.name)[0][1]) for table in tables
        ]
        version = run_mysql(server, ["SELECT version_num FROM alembic_version"], database=template.name)
    return [*creates, *(f"INSERT INTO alembic_version VALUES ('{row[0]}')" for row in version)]


def copy_mongodb_schema(run: TestRun, server: MongoServer, target: MongoDatabase) -> None:
    """Give a database all collections of the migrated schema: options, indexes, and what migrations recorded."""
    with run.only_one("mongodb-template") as result:
        if not result.exists():
            result.write_text(json_util.dumps(_mongodb_template(server)))
        template = json_util.loads(result.read_text())
    with pymongo.MongoClient[dict[str, Any]](server.url, tz_aware=True) as client:
        database = client[target.name]
        for collection in template:
            created = database.create_collection(collection["name"], **collection["options"])
            if collection["indexes"]:
                database.command("createIndexes", collection["name"], indexes=collection["indexes"])
            if collection["documents"]:
                created.insert_many(collection["documents"])


def _mongodb_template(server: MongoServer) -> list[dict[str, Any]]:
    """Migrate a database and return what makes another like it."""
    with new_mongodb_database(server) as template:
        migrate("notifications_service", template.environment())
        with pymongo.MongoClient[dict[str, Any]](server.url, tz_aware=True) as client:
            database = client[template.name]
            return [
                {
                    "name": listed["name"],
                    "options": listed["options"],
                    "indexes": _indexes(database, listed["name"]),
                    "documents": list(database[listed["name"]].find()),
                }
                for listed in database.list_collections(filter={"type": "collection"})
                if not listed["name"].startswith("system.")
            ]


def _indexes(database: Any, collection: str) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in index.items() if key != "v"}
        for index in database[collection].list_indexes()
        if index["name"] != "_id_"
    ]
