"""Gives the compose stack's account of MySQL the rights to look, and makes the database that drills restore into.

May be repeated: what is there already stays. Run by the one-shot service ``mysql-prepare``, with the account that the
database's image has made at its first start.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncmy
from asyncmy.errors import MySQLError

SECRETS = Path("/run/secrets")
HOST = "mysql"
ACCOUNT = "'vibework'@'%'"
DRILL = "vibe_drill"
STATEMENTS = (
    # What `status` shows: all connections, replication, the binary log; and the log's position, for `backup`.
    f"GRANT PROCESS, REPLICATION CLIENT ON *.* TO {ACCOUNT}",
    # Slow statements, and how much each index is used and takes.
    f"GRANT SELECT ON performance_schema.* TO {ACCOUNT}",
    f"GRANT SELECT ON mysql.slow_log TO {ACCOUNT}",
    f"GRANT SELECT ON mysql.innodb_index_stats TO {ACCOUNT}",
    f"CREATE DATABASE IF NOT EXISTS `{DRILL}` CHARACTER SET utf8mb4",
    f"GRANT ALL ON `{DRILL}`.* TO {ACCOUNT}",
)
TIMEOUT_SECONDS = 60.0


async def prepare() -> None:
    """Carry out the statements as root."""
    password = (SECRETS / "root_password").read_text()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        connection = await asyncmy.connect(host=HOST, user="root", password=password, autocommit=True)
        try:
            async with connection.cursor() as cursor:
                for statement in STATEMENTS:
                    await cursor.execute(statement)
        finally:
            connection.close()


def main() -> int:
    """Prepare MySQL; exit 1 with one line where that does not work."""
    try:
        asyncio.run(prepare())
    except (MySQLError, OSError) as error:
        # TimeoutError is an OSError, too.
        sys.stderr.write(f"MySQL was not prepared: {type(error).__name__} {error.args[0] if error.args else ''}\n")
        return 1
    sys.stdout.write("the account may look, and drills have their database\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
