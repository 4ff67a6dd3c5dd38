"""Keyspaces of four shards, made once for a run and lent to one test at a time, empty.

A keyspace takes seconds to make, and its tables reach vtgate's plans a moment after the shards. So each has the schema
of deploy/vitess from the beginning, and is emptied, past vtgate, before it is lent again; tables that a test altered
are made anew.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncmy.errors

from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.patience import PATIENCE_SECONDS, wait_for

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
# Seconds until tablets are made to tell vtgate once more: what they tell while it looks at them first may be lost.
TOLD_SECONDS: Final = 10.0
# Databases of no keyspace: what the tables of a shard, and of the one of events, are like while no test alters them.
TEMPLATE: Final = "vt_template"
EVENTS_TEMPLATE: Final = f"{TEMPLATE}{EVENTS}"
_COLUMNS: Final = (
    "SELECT table_schema, table_name, column_name, column_type, is_nullable, column_default, extra "
    "FROM information_schema.columns WHERE table_schema IN ({}) ORDER BY table_name, ordinal_position"
)
_KEYS: Final = (
    "SELECT table_schema, table_name, index_name, seq_in_index, column_name, non_unique "
    "FROM information_schema.statistics WHERE table_schema IN ({}) ORDER BY table_name, index_name, seq_in_index"
)
_REFERENCES: Final = (
    "SELECT constraint_schema, table_name, constraint_name FROM information_schema.referential_constraints "
    "WHERE constraint_schema IN ({}) ORDER BY table_name, constraint_name"
)
# A change that changes nothing, after which tablets tell vtgate of what is new, and a statement that needs to be told.
_TOUCH: Final = "ALTER TABLE `{}` COMMENT = ''"
_NEEDING: Final = "DELETE FROM attempt_counters ORDER BY window_ends_at LIMIT 1"


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


def make_databases(behind: MySQLServer, keyspaces: tuple[str, ...]) -> None:
    """Make the databases of all shards without tables, before vtcombo starts."""
    for keyspace in keyspaces:
        for database in (
            *(database_of(keyspace, shard) for shard in SHARDS),
            database_of(f"{keyspace}{EVENTS}", WHOLE),
        ):
            _make(behind, database, [])


def make_tables(behind: MySQLServer, keyspaces: tuple[str, ...]) -> None:
    """Make the tables of all shards, before vtcombo starts; the one row of versions is on the first shard."""
    _make(behind, TEMPLATE, _of_a_shard(SHARDS[0]))
    _make(behind, EVENTS_TEMPLATE, of_the_events())
    for keyspace in keyspaces:
        for shard in SHARDS:
            _make(behind, database_of(keyspace, shard), _of_a_shard(shard))
        _make(behind, database_of(f"{keyspace}{EVENTS}", WHOLE), of_the_events())


def _make(behind: MySQLServer, database: str, wanted: list[str]) -> None:
    run_mysql(behind, [f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4"])
    run_mysql(behind, wanted, database=database)


def _of_a_shard(shard: str) -> list[str]:
    return [each for each in statements() if shard == SHARDS[0] or each.startswith("CREATE")]


def of_the_events() -> list[str]:
    """Return the statements for the keyspace of events."""
    return [each for each in statements() if each.startswith(tuple(f"CREATE TABLE {name} " for name in of_events()))]


def make_known(vtgate: MySQLServer, keyspaces: tuple[str, ...]) -> None:
    """Let vtgate know the tables that were made past it, and wait until it does.

    Tablets tell of them after a change of the schema through vtgate, by which tables are made outside of tests.
    """
    for keyspace in keyspaces:
        _touch(vtgate, keyspace, [VERSIONS], of_events()[:1])
    for keyspace in keyspaces:
        known = partial(_is_known, vtgate, keyspace)
        try:
            wait_for(known, "vtgate to know tables", TOLD_SECONDS)
        except AssertionError:
            _touch(vtgate, keyspace, [VERSIONS, *tables()], of_events())
            wait_for(known, f"vtgate to know the tables of {keyspace}")


def _touch(vtgate: MySQLServer, keyspace: str, own: list[str], of_its_events: list[str]) -> None:
    run_mysql(vtgate, [_TOUCH.format(table) for table in own], database=keyspace)
    run_mysql(vtgate, [_TOUCH.format(table) for table in of_its_events], database=f"{keyspace}{EVENTS}")


def _is_known(vtgate: MySQLServer, keyspace: str) -> bool:
    try:
        run_mysql(vtgate, [_NEEDING], database=keyspace)
    except asyncmy.errors.MySQLError:
        return False
    return True


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
                restore(server, keyspace)
                empty(server, keyspace)
                yield keyspace
                return
        time.sleep(INTERVAL)


def restore(server: MySQLServer, keyspace: str) -> None:
    """Make the tables anew, where a test has altered them."""
    behind, altered = server.behind(), False
    databases = {database_of(keyspace, shard): (TEMPLATE, _of_a_shard(shard)) for shard in SHARDS}
    databases[database_of(f"{keyspace}{EVENTS}", WHOLE)] = (EVENTS_TEMPLATE, of_the_events())
    found = _definitions(behind, (*databases, TEMPLATE, EVENTS_TEMPLATE))
    for database, (template, wanted) in databases.items():
        if found[database] != found[template]:
            there = [str(name) for (name,) in run_mysql(behind, ["SHOW TABLES"], database=database)]
            dropped = [f"DROP TABLE `{table}`" for table in there]
            # Not the database, which the tablet's connections are in.
            run_mysql(behind, ["SET FOREIGN_KEY_CHECKS = 0", *dropped, *wanted], database=database)
            altered = True
    if altered:
        make_known(replace(server, keyspaces=()), (keyspace,))


def _definitions(behind: MySQLServer, databases: tuple[str, ...]) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the tables of databases are like, by database."""
    found: dict[str, list[tuple[Any, ...]]] = {database: [] for database in databases}
    among = ", ".join(f"'{database}'" for database in databases)
    for statement in (_COLUMNS, _KEYS, _REFERENCES):
        for database, *definition in run_mysql(behind, [statement.format(among)]):
            found[str(database)].append(tuple(definition))
    return found


def empty(server: MySQLServer, keyspace: str) -> None:
    """Delete all rows of a keyspace; the number of its revision becomes that of its tables again."""
    databases = {database_of(keyspace, shard): tables() for shard in SHARDS}
    databases[database_of(f"{keyspace}{EVENTS}", WHOLE)] = of_events()
    for database, there in databases.items():
        asked = " UNION ALL ".join(f"(SELECT '{table}' FROM `{table}` LIMIT 1)" for table in there)
        full = [str(name) for (name,) in run_mysql(server.behind(), [asked], database=database)]
        deletions = [f"DELETE FROM `{table}`" for table in full]
        if deletions:
            # Patiently: a transaction whose caller has gone may still be about to be rolled back.
            patient = f"SET FOREIGN_KEY_CHECKS = 0, innodb_lock_wait_timeout = {PATIENCE_SECONDS:.0f}"
            run_mysql(server.behind(), [patient, *deletions], database=database)
    first = database_of(keyspace, SHARDS[0])
    versions = [each for each in _of_a_shard(SHARDS[0]) if each.startswith("INSERT")]
    run_mysql(server.behind(), [f"DELETE FROM {VERSIONS}", *versions], database=first)
