"""Session variables of MySQL: the same on every connection, whatever the server's defaults are.

Servers have defaults of their own, and an ``init_connect`` that runs after the driver's handshake. The meaning of a
statement must not depend on them, so every connection sets all of these variables before its first use, in one
statement. Only ``autocommit`` is not here: the driver sets it, and it differs between connections.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

# The driver sends the character set in its handshake, which servers may ignore. The collation is that of the tables:
# so texts that are compared with no column are compared byte by byte, too.
SET_NAMES: Final = "SET NAMES utf8mb4 COLLATE utf8mb4_bin"
# Vitess turns sql_select_limit into a LIMIT of every statement, also where it takes none (GET_LOCK). There 0 is none;
# on a MySQL server it would be no rows.
_SET_NAMES_ON_VITESS: Final = f"{SET_NAMES}, sql_select_limit = 0"
# No list is as long. More than a signed number holds is refused by Vitess.
_ALL_ROWS: Final = 2**63 - 1
# Seconds that a statement of a command waits for a change of the schema; servers wait for a day, or a year.
PATIENCE_SECONDS: Final = 60

_VARIABLES: Final = {
    "time_zone": "'+00:00'",
    "sql_mode": ("'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"),
    # Seconds that a statement waits for a row lock.
    "innodb_lock_wait_timeout": 2,
    "foreign_key_checks": 1,
    "unique_checks": 1,
    # No list is cut before its limit, and no statement is refused for the number of rows that it might read or change.
    "sql_select_limit": _ALL_ROWS,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
    # `IS NULL` finds no row that was inserted last, and a COMMIT neither begins a transaction nor hangs up.
    "sql_auto_is_null": 0,
    "completion_type": 0,
}


def names_command(server_version: str) -> str:
    """Return the statement that sets character set and collation again; ``server_version``: of the handshake."""
    return _SET_NAMES_ON_VITESS if is_vitess(server_version) else SET_NAMES


def server_version(connection: Connection) -> str:
    """Return what the server said of itself in the handshake; without asking it."""
    lent: Any = connection
    return str(lent.connection.driver_connection.get_server_info())


def is_vitess(server_version: str) -> bool:
    """Whether a server's version is that of Vitess, as it says by default (``--mysql-server-version``)."""
    return "vitess" in server_version.lower()


async def leads_to_vitess(connection: object) -> bool:
    """Whether a connection leads to Vitess; without asking. What stands in for a connection leads nowhere."""
    return isinstance(connection, AsyncConnection) and is_vitess(await connection.run_sync(server_version))


def init_command(limit_ms: int = 0) -> str:
    """Return the statement that sets the variables; ``limit_ms``: how long a statement may take, 0: for ever.

    The server gives a statement up a second later: MariaDB any, MySQL only one that reads. It gives up waiting for a
    change of the schema (a metadata lock) within the limit, whatever the statement. Names that differ are in comments
    that the other server ignores.
    """
    variables = ", ".join(f"{name} = {value}" for name, value in _VARIABLES.items())
    patience = max(1, limit_ms // 1000) if limit_ms else PATIENCE_SECONDS
    until = limit_ms + 1_000 if limit_ms else 0
    mariadb = (
        f"@@SESSION.tx_isolation = 'READ-COMMITTED', @@SESSION.tx_read_only = 0, max_statement_time = {until / 1000}"
    )
    mysql = (
        "@@SESSION.transaction_isolation = 'READ-COMMITTED', @@SESSION.transaction_read_only = 0, "
        f"max_execution_time = {until}"
    )
    limits = f"lock_wait_timeout = {patience} /*M!100100 , {mariadb} */ /*!80000 , {mysql} */"
    return f"{SET_NAMES}, {variables}, {limits}"
