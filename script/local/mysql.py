"""A MySQL server as a local process, installed where this machine has none."""

from __future__ import annotations

from vibework.testing.local import mysql
from vibework.testing.local.mysql_installation import MySQLInstallation

from script.local import mysql_installation

# So that `status` can tell slow statements and how much indexes are used.
TELLING_OPTIONS = (
    "--slow-query-log=ON",
    "--log-output=TABLE",
    "--long-query-time=0.2",
    "--loose-userstat=ON",
)


class LocalMySQL(mysql.LocalMySQL):
    """One that is installed when it is first needed."""

    def installation(self) -> MySQLInstallation:
        """Return the program that is run. Raises `LocalProblem` where it cannot be installed."""
        return mysql_installation.find_or_install()
