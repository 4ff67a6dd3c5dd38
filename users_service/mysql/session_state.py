"""The state of a session with MySQL: the same on every way there, whatever the server gives to new sessions.

Servers have defaults of their own, and an ``init_connect`` that speaks after the driver's handshake. What a statement
means must not depend on them, so every connection says all of this itself, in one statement, before its first use.
Only ``autocommit`` is not here: the driver sets it, for some connections begin transactions and others do not.
"""

from __future__ import annotations

from typing import Final

# The driver names the character set in its handshake only, which servers may pass over. The collation is the tables'
# own: also what is compared with no column of theirs is compared byte by byte.
SET_NAMES: Final = "SET NAMES utf8mb4 COLLATE utf8mb4_bin"
_ALL_ROWS: Final = 2**64 - 1

_VARIABLES: Final = {
    "time_zone": "'+00:00'",
    "sql_mode": ("'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"),
    # Seconds that a statement waits for a row lock.
    "innodb_lock_wait_timeout": 2,
    "foreign_key_checks": 1,
    "unique_checks": 1,
    # No list ends before its limit, no statement is refused for what it might read or change.
    "sql_select_limit": _ALL_ROWS,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
    # `IS NULL` finds no row that was inserted last, and a COMMIT neither begins a transaction nor hangs up.
    "sql_auto_is_null": 0,
    "completion_type": 0,
}


def init_command(limit_ms: int = 0) -> str:
    """Return the statement that makes the state; ``limit_ms``: when the server gives a statement up, 0: never.

    MariaDB limits every statement, MySQL reads. Names that differ stand in comments that the other server passes over.
    """
    variables = ", ".join(f"{name} = {value}" for name, value in _VARIABLES.items())
    mariadb = (
        f"@@SESSION.tx_isolation = 'READ-COMMITTED', @@SESSION.tx_read_only = 0, max_statement_time = {limit_ms / 1000}"
    )
    mysql = (
        "@@SESSION.transaction_isolation = 'READ-COMMITTED', @@SESSION.transaction_read_only = 0, "
        f"max_execution_time = {limit_ms}"
    )
    return f"{SET_NAMES}, {variables} /*M!100100 , {mariadb} */ /*!80000 , {mysql} */"
