"""Session variables of MySQL: the same on every connection, whatever the server's defaults are.

Servers have defaults of their own, and an ``init_connect`` that runs after the driver's handshake. The meaning of a
statement must not depend on them, so every connection sets all of these variables before its first use, in one
statement. Only ``autocommit`` is not here: the driver sets it, and it differs between connections.
"""

from __future__ import annotations

from typing import Final

# The driver sends the character set in its handshake, which servers may ignore. The collation is that of the tables:
# so texts that are compared with no column are compared byte by byte, too.
SET_NAMES: Final = "SET NAMES utf8mb4 COLLATE utf8mb4_bin"
_ALL_ROWS: Final = 2**64 - 1
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
