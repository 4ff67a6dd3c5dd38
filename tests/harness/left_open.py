"""What calls may have left open in the databases: transactions, locks, cursors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import pymongo

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, in_own_thread, run_mysql
from tests.harness.statements import LOOK_SECONDS, open_transactions, query

# How long a lock on all tables is waited for, which no open transaction lets anybody have.
LOCK_SECONDS: Final = 60
_TABLES: Final = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"


def no_transaction_is_open(database: MongoDatabase) -> None:
    """Fail where transactions of this database's server stay open, of which other tests have short ones."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        # Other tests hold theirs for seconds; those that kill a process leave them for the minute that MongoDB keeps
        # one. That no call leaves its own open shows test_transactions.py, on a server that nobody else uses.
        for _ in range(2_400):
            status: Mapping[str, int] = client.admin.command("serverStatus")["transactions"]
            if status["currentOpen"] == 0:
                return
            time.sleep(0.05)
        raise AssertionError(status)


def cursors_left(database: MongoDatabase) -> list[Any]:
    """Return the cursors on this database that wait for somebody to go on, but for change streams."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleCursors": True}},
        {"$match": {"type": "idleCursor", "ns": {"$regex": f"^{database.name}\\."}, "cursor.tailable": {"$ne": True}}},
    ]
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        return list(client.admin.aggregate(stages))


def transactions_left(database: MySQLDatabase) -> int:
    """Return how many transactions are open on this database."""
    time.sleep(LOOK_SECONDS)
    return in_own_thread(partial(open_transactions, database))


def lock_everything(database: MySQLDatabase) -> None:
    """Lock every table of this database alone, and let go; fails where a row or a table stays locked."""
    tables = [str(row[0]) for row in in_own_thread(partial(query, database, _TABLES))]
    locks = ", ".join(f"`{table}` WRITE" for table in tables)
    server = MySQLServer(database.host, database.port, database.user, database.password)
    run_mysql(server, [f"SET lock_wait_timeout = {LOCK_SECONDS}", f"LOCK TABLES {locks}"], database=database.name)
