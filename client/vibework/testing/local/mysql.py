"""A MySQL server as a local process, on loopback, with an account of ours and none without a password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vibework.testing.local import mysql_installation, ports
from vibework.testing.local.database_servers import START_TIMEOUT_SECONDS, LocalDatabaseServer
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.processes import Process

PLAIN_OPTIONS = (
    f"--bind-address={ports.LOOPBACK}",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+00:00",
    "--local-infile=0",
    "--loose-mysqlx=OFF",
    "--max-connections=500",
)
# For data that is thrown away: nothing is forced to disk, and little memory is taken.
THROWAWAY_OPTIONS = (
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=128M",
    "--performance-schema=OFF",
    "--loose-innodb-redo-log-capacity=64M",
    "--loose-innodb-log-file-size=64M",
)


@dataclass(frozen=True)
class MySQLAccount:
    """A user who may do all on one database, which is made too, or (database None) on the whole server."""

    user: str
    password: str
    database: str | None = None

    def statements(self, *, is_mariadb: bool) -> list[str]:
        """Return the SQL that makes the account, or gives it its password and its rights again."""
        name = f"'{self.user}'@'{ports.LOOPBACK}'"
        scope = "*.*" if self.database is None else f"`{self.database}`.*"
        make_database = [] if self.database is None else [f"CREATE DATABASE IF NOT EXISTS `{self.database}`;"]
        return [
            *make_database,
            f"CREATE USER IF NOT EXISTS {name} IDENTIFIED BY '{self.password}';",
            f"ALTER USER {name} IDENTIFIED BY '{self.password}';",
            f"GRANT ALL PRIVILEGES ON {scope} TO {name}{' WITH GRANT OPTION' if self.database is None else ''};",
            *(() if self.database is None else _rights_to_look(name, is_mariadb=is_mariadb)),
        ]


def _rights_to_look(name: str, *, is_mariadb: bool) -> list[str]:
    """Return the grants by which `status` and `backup` see all that they can (docs/operations.md)."""
    server = "PROCESS, BINLOG MONITOR, REPLICA MONITOR" if is_mariadb else "PROCESS, REPLICATION CLIENT"
    readable = ("performance_schema.*", "mysql.innodb_index_stats", "mysql.slow_log")
    return [f"GRANT {server} ON *.* TO {name};", *(f"GRANT SELECT ON {place} TO {name};" for place in readable)]


class LocalMySQL(LocalDatabaseServer):
    """A server with its data in `directory`/data, its log in `directory`/mysql.log.

    `durable` false: for tests; what was committed can be lost when the machine (not the server) stops.
    `options` are further options of the server, such as `--log-bin`.
    """

    def __init__(
        self,
        directory: Path,
        account: MySQLAccount,
        *,
        port: int | None = None,
        durable: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """Describe the server; `start` starts it. Without `port` a free one is taken."""
        own = () if durable else THROWAWAY_OPTIONS
        super().__init__(directory, port=port, durable=durable, options=(*own, *options))
        self.account = account

    def settings(self) -> dict[str, str]:
        """Return the settings that lead the users service to the account's database."""
        return {
            "MYSQL_HOST": ports.LOOPBACK,
            "MYSQL_PORT": str(self.port),
            "MYSQL_USER": self.account.user,
            "MYSQL_PASSWORD": self.account.password,
            "MYSQL_DATABASE": self.account.database or "",
        }

    def installation(self) -> mysql_installation.MySQLInstallation:
        """Return the program that is run. Raises `LocalProblem` where this machine has none."""
        found = mysql_installation.find()
        if found is None:
            raise LocalProblem(f"a MySQL server is not installed: {mysql_installation.INSTEAD}")
        return found

    def begin(self) -> None:
        """Start the server without waiting for it."""
        installation = self.installation()
        data = self._data_of(installation)
        if not data.exists():
            installation.initialise(data)
        if ports.is_taken(self.port):
            raise LocalProblem(f"port {self.port} is taken: MySQL cannot listen there")
        command = [
            str(installation.program),
            *installation.common_options(),
            f"--datadir={data}",
            f"--tmpdir={self.directory}",
            f"--port={self.port}",
            "--socket=mysql.sock",  # inside the data directory: a whole path may be longer than a socket's can be
            f"--pid-file={self.directory / 'mysql.pid'}",
            f"--init-file={self._write_init_file(is_mariadb=installation.is_mariadb)}",
            *PLAIN_OPTIONS,
            *self._options,
        ]
        log = self.directory / "mysql.log"
        self.process = Process("MySQL", command, log=log, on_parent_death=self._on_parent_death)

    def wait(self) -> None:
        """Wait until the server answers on its port."""
        self.begun.wait_until(lambda: ports.answers(self.port), timeout=START_TIMEOUT_SECONDS)

    def _data_of(self, installation: mysql_installation.MySQLInstallation) -> Path:
        """Return the data directory: one for each kind of server, since neither can read the other's."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.directory / ("data-mariadb" if installation.is_mariadb else "data-mysql")

    def _write_init_file(self, *, is_mariadb: bool) -> Path:
        statements = self.account.statements(is_mariadb=is_mariadb)
        if not is_mariadb:  # MariaDB's root can only come in over the socket, as the system's root
            statements.append(f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{self.account.password}';")
        path = self.directory / "accounts.sql"
        path.touch(mode=0o600)
        path.write_text("\n".join(statements) + "\n")
        return path
