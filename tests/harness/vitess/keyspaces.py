"""Keyspaces of four shards, made once for a run and lent to one test at a time, empty.

A keyspace takes seconds to make, and its tables reach vtgate's plans a moment after the shards. So each has the schema
of deploy/vitess from the beginning, and is emptied, past vtgate, before it is lent again.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import run_mysql

SHARDS: Final = ("-40", "40-80", "80-c0", "c0-")
# The keyspace in the files of deploy/vitess.
NAME: Final = "vibework"
DEPLOYED: Final = ROOT / "deploy" / "vitess"
VERSIONS: Final = "alembic_version"
# Behind the name of a keyspace: that of its events, which has one shard.
EVENTS: Final = "_events"
WHOLE: Final = "0"
# Seconds between looks for one that was given back.
INTERVAL: Final = 0.1


def names(number: int) -> tuple[str, ...]:
    """Name the keyspaces of a run."""
    return tuple(f"vw_test_{index}" for index in range(1, number + 1))


def vschemas(keyspace: str) -> dict[str, str]:
    """Return the vschemas of deploy/vitess, by keyspace, for another one."""
    own = (DEPLOYED / "vschema.json").read_text().replace(f'"{NAME}.', f'"{keyspace}.')
    return {keyspace: own, f"{keyspace}{EVENTS}": (DEPLOYED / "vschema-events.json").read_text()}


def rules(keyspace: str) -> list[tuple[str, str]]:
    """Return the routing rules of deploy/vitess, from a table to a table, for another keyspace."""
    content = (DEPLOYED / "routing-rules.json").read_text()
    given = json.loads(content.replace(f'"{NAME}', f'"{keyspace}'))["rules"]
    return [(rule["from_table"], rule["to_tables"][0]) for rule in given]


def of_events() -> list[str]:
    """Return the names of the tables that are in the keyspace of events."""
    return list(json.loads((DEPLOYED / "vschema-events.json").read_text())["tables"])


def statements() -> list[str]:
    """Return the statements of deploy/vitess/schema.sql."""
    bare = re.sub(r"^--.*$", "", (DEPLOYED / "schema.sql").read_text(), flags=re.MULTILINE)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


def tables() -> list[str]:
    """Return the names of all tables, lookups included."""
    return [name for name in json.loads((DEPLOYED / "vschema.json").read_text())["tables"] if name != VERSIONS]


def database_of(keyspace: str, shard: str) -> str:
    """Return the name that a shard's tablet gives its database."""
    return f"vt_{keyspace}_{shard}"


def make_tables(behind: MySQLServer, keyspaces: tuple[str, ...]) -> None:
    """Make the tables of all shards, before vtcombo starts; the one row of versions is on the first shard."""
    everything = statements()
    for keyspace in keyspaces:
        for shard in SHARDS:
            database = database_of(keyspace, shard)
            run_mysql(behind, [f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4"])
            wanted = [each for each in everything if shard == SHARDS[0] or each.startswith("CREATE")]
            run_mysql(behind, wanted, database=database)
        database = database_of(f"{keyspace}{EVENTS}", WHOLE)
        run_mysql(behind, [f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4"])
        wanted = [
            each for each in everything if each.startswith(tuple(f"CREATE TABLE {name} " for name in of_events()))
        ]
        run_mysql(behind, wanted, database=database)


@contextmanager
def borrowed(server: MySQLServer) -> Iterator[str]:
    """Lend an empty keyspace for as long as the context lasts; waits for one that another process gives back."""
    while True:
        for keyspace in server.keyspaces:
            with (Path(server.directory) / f"{keyspace}.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                empty(server, keyspace)
                yield keyspace
                return
        time.sleep(INTERVAL)


def empty(server: MySQLServer, keyspace: str) -> None:
    """Delete all rows of a keyspace, but for the number of its revision."""
    databases = {database_of(keyspace, shard): tables() for shard in SHARDS}
    databases[database_of(f"{keyspace}{EVENTS}", WHOLE)] = of_events()
    for database, there in databases.items():
        asked = " UNION ALL ".join(f"(SELECT '{table}' FROM `{table}` LIMIT 1)" for table in there)
        full = [str(name) for (name,) in run_mysql(server.behind(), [asked], database=database)]
        deletions = [f"DELETE FROM `{table}`" for table in full]
        if deletions:
            run_mysql(server.behind(), ["SET FOREIGN_KEY_CHECKS = 0", *deletions], database=database)
