"""A MySQL server as a local process, on loopback, with an account of ours and none without a password."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from script.local import mysql_installation, ports
from script.local.problems import LocalProblem
from script.local.processes import Process

START_TIMEOUT_SECONDS = 60.0
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
# So that `status` can tell slow statements and how much indexes are used.
TELLING_OPTIONS = (
    "--slow-query-log=ON",
    "--log-output=TABLE",
    "--long-query-time=0.2",
    "--loose-userstat=ON",
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


class LocalMySQL:
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
        self.directory = directory.resolve()
        self.account = account
        self.port = port or ports.free_port()
        self.process: Process | None = None
        self._durable = durable
        self._options = (*(() if durable else THROWAWAY_OPTIONS), *options)

    def start(self) -> None:
        """Start the server (the first time: on a new data directory) and wait until it answers.

        Call `begin` and `wait` instead where other things can be done meanwhile. Raises `LocalProblem`.
        """
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start the server without waiting for it."""
        installation = mysql_installation.find_or_install()
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
        # Terminated, a server finishes its writes first; data that is thrown away needs none of that.
        signal_number = signal.SIGTERM if self._durable else signal.SIGKILL
        self.process = Process("MySQL", command, log=self.directory / "mysql.log", on_parent_death=signal_number)

    def wait(self) -> None:
        """Wait until the server answers on its port."""
        if self.process is None:
            raise RuntimeError("begin() comes first")
        self.process.wait_until(lambda: ports.answers(self.port), timeout=START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop the server, what is committed being on disk; harmless if it does not run."""
        if self.process is not None:
            self.process.stop(grace=30.0)

    def kill(self) -> None:
        """End the server at once, as a crash would; `start` starts it again on the same data."""
        if self.process is not None:
            self.process.kill()

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
