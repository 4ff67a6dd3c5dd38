"""Servers that speak MySQL's language and would lose what this service promises: they are refused, in one line.

Asked once by a process, over a connection that is open anyway.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.schema import SchemaLacking
from users_service.mysql.session_state import is_vitess

_ASKED: Final = text("SELECT @@version, @@version_comment")
_ISOLATION: Final = text("SELECT @@global.transaction_isolation")
_SHARDS: Final = text("SHOW VITESS_SHARDS")
_VINDEXES: Final = text("SHOW VSCHEMA VINDEXES")
# By table: what must be unique over all shards (deploy/vitess/vschema.json).
UNIQUE: Final = {
    "users": frozenset({"email_normalized"}),
    "sessions": frozenset({"token_hash"}),
    "accounts": frozenset({"account_id", "provider"}),
}
# The service asks for it on each connection, and vtgate does not keep it on all of those behind (docs/scaling.md).
WANTED_ISOLATION: Final = "READ-COMMITTED"
ISOLATION: Final = (
    f"the MySQL servers behind Vitess begin transactions as {{}}, and must do so as {WANTED_ISOLATION}: "
    "set transaction_isolation there"
)
TIDB: Final = (
    "the server is TiDB, which takes no lock where SKIP LOCKED is asked for (pingcap/tidb#69720): use MySQL, MariaDB "
    "or Vitess"
)


class ServerRefused(SchemaLacking):
    """The server is of a kind with which the service is not safe."""


async def refuse_unsafe(connection: AsyncConnection) -> None:
    """Raise ServerRefused where the server is known to be unsafe."""
    version, comment = (str(value) for value in (await connection.execute(_ASKED)).one())
    if "tidb" in f"{version} {comment}".lower():
        raise ServerRefused(TIDB)
    # vtgate may be told to give the version of a MySQL; its comment is of its own build.
    if is_vitess(version) or (comment.startswith("Version: ") and "Git revision" in comment):
        if (isolation := str(await connection.scalar(_ISOLATION))) != WANTED_ISOLATION:
            raise ServerRefused(ISOLATION.format(isolation))
        await _refuse_without_lookups(connection)


async def _refuse_without_lookups(connection: AsyncConnection) -> None:
    keyspace = str(await connection.scalar(text("SELECT DATABASE()")))
    shards = [str(shard) for shard in await connection.scalars(_SHARDS)]
    if sum(shard.partition("/")[0] == keyspace for shard in shards) <= 1:
        return
    kept = []
    for of, _, kind, parameters, owner in await connection.execute(_VINDEXES):
        columns = _from(str(parameters))
        # A lookup of several columns keeps them unique by the primary key of its table.
        if of == keyspace and "lookup" in str(kind) and ("unique" in str(kind) or len(columns) > 1):
            kept.append((str(owner), columns))
    if lacking := [table for table, columns in UNIQUE.items() if (table, columns) not in kept]:
        raise ServerRefused(
            f"the Vitess keyspace {keyspace} is sharded, and has no lookup vindex that keeps {', '.join(lacking)} "
            "unique over its shards: apply deploy/vitess/vschema.json"
        )


def _from(parameters: str) -> frozenset[str]:
    """Return the columns of a lookup, of parameters as `batch_lookup=true; from=account_id,provider; table=…`."""
    named = dict(part.split("=", 1) for part in parameters.split("; ") if "=" in part)
    return frozenset(column.strip() for column in named.get("from", "").split(","))
