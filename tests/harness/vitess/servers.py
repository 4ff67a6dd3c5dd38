"""A local MySQL, and vtcombo over it, for a test run."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from vibework.testing.local import mysql_installation, ports
from vibework.testing.local.mysql import LocalMySQL, MySQLAccount
from vibework.testing.local.mysql_installation import MySQLInstallation
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.processes import Process

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.vitess import keyspaces, program

# One for each test and module that runs at the same time.
KEYSPACES: Final = 6
START_TIMEOUT_SECONDS: Final = 240.0
# vtcombo's user at the server behind it, by a socket that only it can reach; root's would be refused.
USER: Final = "vtcombo"
ROLES: Final = ("app", "allprivs", "appdebug", "clone", "dba", "erepl", "filtered", "repl")
# vtcombo refuses to run as root.
NOBODY: Final = 65534


def require_mysql() -> MySQLInstallation:
    """Return this machine's MySQL. Raises LocalProblem where it has none, or MariaDB in its place."""
    found = mysql_installation.find()
    if found is None or found.is_mariadb:
        raise LocalProblem("MySQL 8.4 or 9 is missing, which Vitess needs: put its mysqld first on PATH")
    return found


class GenuineMySQL(LocalMySQL):
    """A server behind Vitess, which MariaDB cannot be."""

    def installation(self) -> MySQLInstallation:
        """Return the program that is run. Raises LocalProblem where this machine has none."""
        return require_mysql()


class Vtcombo:
    """All of Vitess in one process: keyspaces of four shards, each with one tablet, and a vtgate."""

    def __init__(self, folder: Path, socket: Path, names: Sequence[str], *, port: int | None = None) -> None:
        """Describe it; `folder`: its own, for its log, and for the vschemas."""
        self.folder = folder
        self.socket = socket
        self.port = port or ports.free_port()
        self.process: Process | None = None
        # Whether the routing rules are there from the next start on.
        self.is_routed = True
        self._names = tuple(names)

    def start(self) -> None:
        """Start it, and wait until vtgate answers. Raises LocalProblem."""
        command = [str(program.find_or_build()), *self._options()]
        if os.geteuid() == 0:
            user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=KILL")
            command = ["setpriv", *user, *command]
        environment = {**os.environ, "VTDATAROOT": str(self.folder)}
        self._write()
        self.process = Process("vtcombo", command, log=self.folder / "vtcombo.log", environment=environment)
        self.process.wait_until(lambda: ports.answers(self.port), timeout=START_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()

    def _write(self) -> None:
        for keyspace in self._names:
            for name, vschema in keyspaces.vschemas(keyspace).items():
                folder = self.folder / "schema" / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "vschema.json").write_text(vschema)
        (self.folder / "tmp").mkdir(exist_ok=True)
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    def _options(self) -> Iterator[str]:
        shards = " ".join(f'shards:{{name:"{shard}"}}' for shard in keyspaces.SHARDS)
        tablets = "replica_count:1 rdonly_count:-1"
        each = [f'keyspaces:{{name:"{name}" {shards} {tablets}}}' for name in self._names]
        for name in self._names:
            whole = f'shards:{{name:"{keyspaces.WHOLE}"}}'
            each.append(f'keyspaces:{{name:"{name}{keyspaces.EVENTS}" {whole} {tablets}}}')
        rules = [
            f'rules:{{from_table:"{given}" to_tables:"{to}"}}'
            for name in self._names
            for given, to in keyspaces.rules(name)
            if self.is_routed
        ]
        yield f'--proto-topo={" ".join(each)} cells:"test" routing_rules:{{{" ".join(rules)}}}'
        yield f"--schema-dir={self.folder / 'schema'}"
        yield f"--db-socket={self.socket}"
        yield from (f"--db-{role}-user={USER}" for role in ROLES)
        yield f"--mysql-server-port={self.port}"
        yield f"--mysql-server-bind-address={ports.LOOPBACK}"
        yield "--mysql-server-version=8.4.0-Vitess"
        # vtcombo has no other one.
        yield "--mysql-auth-server-impl=none"
        yield f"--port={ports.free_port()}"
        yield f"--bind-address={ports.LOOPBACK}"
        yield "--tablet-types-to-wait=primary"
        yield "--foreign-key-mode=allow"
        yield "--dbddl-plugin=vttest"
        yield "--normalize-queries"
        yield "--allow-kill-statement"


@contextmanager
def sharded(directory: Path, options: Sequence[str] = (), *, number: int = KEYSPACES) -> Iterator[MySQLServer]:
    """Run MySQL, and vtcombo over it with keyspaces that are to be borrowed; `options`: more of mysqld's own."""
    with stack(directory, keyspaces.names(number), options) as (behind, vtcombo):
        account = behind.account
        yield MySQLServer(
            ports.LOOPBACK,
            vtcombo.port,
            account.user,
            account.password,
            keyspaces=keyspaces.names(number),
            behind_port=behind.port,
            directory=str(directory),
        )


@contextmanager
def stack(
    directory: Path,
    names: tuple[str, ...],
    options: Sequence[str] = (),
    *,
    durable: bool = False,
    with_tables: bool = True,
) -> Iterator[tuple[GenuineMySQL, Vtcombo]]:
    """Run MySQL with the tables of the keyspaces, and vtcombo over it; without: no rules either."""
    folder = Path(tempfile.mkdtemp(prefix="vitess-"))  # a path that is short enough for a socket's
    socket = folder / "mysql.sock"
    # Each tablet has connections of its own.
    usual = [f"--socket={socket}", "--max-connections=4000", "--secure-file-priv=NULL"]
    # As docs/scaling.md asks of the tablets' servers.
    usual += ["--transaction-isolation=READ-COMMITTED", "--innodb-lock-wait-timeout=2"]
    if not durable:
        # Of 500 tables each would be forced to disk, several times.
        usual.append("--innodb-flush-method=nosync")
    account = MySQLAccount("harness", secrets.token_hex(16))
    behind = GenuineMySQL(directory, account, durable=durable, options=(*usual, *options))
    vtcombo = Vtcombo(folder, socket, names)
    try:
        behind.start()
        server = MySQLServer(ports.LOOPBACK, behind.port, account.user, account.password)
        user = f"'{USER}'@'localhost'"
        run_mysql(server, [f"CREATE USER {user}", f"GRANT ALL ON *.* TO {user} WITH GRANT OPTION"])
        vtcombo.is_routed = with_tables
        (keyspaces.make_tables if with_tables else keyspaces.make_databases)(server, names)
        vtcombo.start()
        if with_tables:
            keyspaces.make_known(replace(server, port=vtcombo.port), names)
        yield behind, vtcombo
    finally:
        vtcombo.kill()
        behind.kill()
        shutil.rmtree(folder, ignore_errors=True)
