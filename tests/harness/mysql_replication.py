"""A MySQL or MariaDB primary and a replica that follows it, as local processes, and ways to disturb the replica."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibework.testing.local.mysql import MySQLAccount

from script.local import mysql_installation
from script.local.mysql import LocalMySQL
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import run_mysql

CATCH_UP_SECONDS = 30
# "loose": MariaDB numbers its transactions without being told to.
COMMON_OPTIONS = (
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--loose-gtid-mode=ON",
    "--loose-enforce-gtid-consistency=ON",
)
REPLICA_OPTIONS = ("--read-only=ON", "--relay-log=relay", "--relay-log-recovery=ON", "--slave-net-timeout=5")


@dataclass
class Replication:
    """A primary and its replica; what a test does to the replica, ``mend`` undoes."""

    primary: MySQLServer
    replica: MySQLServer
    _process: LocalMySQL
    _is_mariadb: bool
    primary_process: LocalMySQL | None = None

    def on_replica(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements on the replica itself; return the rows of the last."""
        return run_mysql(self.replica, list(statements), database=database)

    def follow(self, *, delay: int = 0) -> None:
        """Let the replica follow, ``delay`` seconds behind."""
        delayed = f"MASTER_DELAY = {delay}" if self._is_mariadb else f"SOURCE_DELAY = {delay}"
        self.on_replica("STOP REPLICA", f"{self._change} TO {delayed}", "START REPLICA")

    def stop_applying(self) -> None:
        """Let the replica receive what the primary did, and not do it."""
        self.on_replica("STOP REPLICA SQL_THREAD")

    def hang(self) -> None:
        """Suspend the replica's process: it keeps its connections and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the suspended process go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the replica as a crash would."""
        self._process.kill()

    def start(self) -> None:
        """Start it again after ``kill``; it ends with the thread that does this."""
        self._process.start()

    def catch_up(self) -> None:
        """Wait until the replica has done all that the primary had done at this call."""
        if self._is_mariadb:
            ((position,),) = run_mysql(self.primary, ["SELECT @@GLOBAL.gtid_binlog_pos"])
            wait = f"SELECT MASTER_GTID_WAIT('{position}', {CATCH_UP_SECONDS})"
        else:
            ((position,),) = run_mysql(self.primary, ["SELECT @@GLOBAL.gtid_executed"])
            wait = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {CATCH_UP_SECONDS})"
        assert self.on_replica(wait) == [(0,)], "the replica does not follow"

    def promote(self) -> None:
        """Make the replica, once it has done all that it has received, a primary of its own (MariaDB)."""
        (status,) = self.on_replica("STOP SLAVE IO_THREAD", "SHOW SLAVE STATUS")
        # Its last column but a few; a position is the only one that looks so.
        received = next(each for each in reversed(status) if re.fullmatch(r"\d+-\d+-\d+(,\d+-\d+-\d+)*", str(each)))
        assert self.on_replica(f"SELECT MASTER_GTID_WAIT('{received}', {CATCH_UP_SECONDS})") == [(0,)]
        self.on_replica("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF")

    def mend(self) -> None:
        """Let the replica run and follow again, whatever was done to it."""
        if self._process.process is None or self._process.process.exit_code is not None:
            self.start()
        self.resume()
        self.on_replica("SET GLOBAL read_only = ON")
        self.follow()
        self.catch_up()

    def connect(self) -> None:
        """Make the replica follow the primary, from its first transaction on."""
        kind, position = ("MASTER", "MASTER_USE_GTID = slave_pos")
        if not self._is_mariadb:
            kind, position = ("SOURCE", "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1")
        place = f"{kind}_HOST = '{self.primary.host}', {kind}_PORT = {self.primary.port}"
        account = f"{kind}_USER = '{self.primary.user}', {kind}_PASSWORD = '{self.primary.password}'"
        self.on_replica(f"{self._change} TO {place}, {account}, {kind}_CONNECT_RETRY = 1, {position}", "START REPLICA")
        self.catch_up()

    @property
    def _change(self) -> str:
        return "CHANGE MASTER" if self._is_mariadb else "CHANGE REPLICATION SOURCE"

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.process is not None
        os.killpg(self._process.process.pid, number)


@contextmanager
def replication(
    directory: Path, of_primary: Sequence[str] = (), of_replica: Sequence[str] = ()
) -> Iterator[Replication]:
    """Run a primary and a replica, with further options of each, for as long as the context lasts."""
    account = MySQLAccount("harness", secrets.token_hex(16))
    is_mariadb = mysql_installation.find_or_install().is_mariadb
    primary = LocalMySQL(directory / "primary", account, options=(*COMMON_OPTIONS, "--server-id=1", *of_primary))
    options = (*COMMON_OPTIONS, "--server-id=2", *REPLICA_OPTIONS, *of_replica)
    replica = LocalMySQL(directory / "replica", account, options=options)
    try:
        for server in (primary, replica):
            server.begin()
        for server in (primary, replica):
            server.wait()
        pair = Replication(_reached(primary), _reached(replica), replica, is_mariadb, primary)
        pair.connect()
        yield pair
    finally:
        for server in (replica, primary):
            server.kill()


@contextmanager
def another_replica(pair: Replication, directory: Path) -> Iterator[Replication]:
    """Run a second replica of the same primary for as long as the context lasts."""
    account = pair._process.account
    server = LocalMySQL(directory, account, options=(*COMMON_OPTIONS, "--server-id=3", *REPLICA_OPTIONS))
    try:
        server.start()
        another = Replication(pair.primary, _reached(server), server, pair._is_mariadb)
        another.connect()
        yield another
    finally:
        server.kill()


def _reached(server: LocalMySQL) -> MySQLServer:
    return MySQLServer("127.0.0.1", server.port, server.account.user, server.account.password)
