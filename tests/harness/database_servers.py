"""The database servers of a test run: one of each kind per run, shared by all its processes.

The servers named in the environment come first; else local processes, or containers, started at the first
use by a keeper (tests/harness/keeper.py) that ends with the run, whatever ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 300.0
DIRECTORY_PREFIX = f"vibework-tests-{os.getuid()}-"

# Files in memory, and how much of them there has to be: a run keeps about 1 GiB there. What is thrown away needs no
# disk, for which each of ten thousand tables would wait when it is made, and when it is dropped.
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - the run's folder in it is its own
MEMORY_BYTES = 8 << 30

Kind = Literal["mysql", "mongodb"]
Source = Literal["local", "containers", "vitess"]


@dataclass(frozen=True)
class MySQLServer:
    """A MySQL or MariaDB server and an account that may make databases and users on it.

    Or a vtgate, with the keyspaces that tests borrow, the port of the MySQL behind it, and a folder for their locks.
    """

    host: str
    port: int
    user: str
    password: str
    keyspaces: tuple[str, ...] = ()
    behind_port: int = 0
    directory: str = ""

    def behind(self) -> MySQLServer:
        """Return the MySQL behind a vtgate."""
        return MySQLServer(self.host, self.behind_port, self.user, self.password)


@dataclass(frozen=True)
class MongoServer:
    """A MongoDB replica set, by the URL that clients use (without a database)."""

    url: str


class ServerUnavailable(Exception):
    """A database server that the tests need did not start; its log's end is in the text."""


def from_environment(kind: Kind) -> MySQLServer | MongoServer | None:
    """Return the server that the environment names, or None: MYSQL_HOST/PORT/USER/PASSWORD, MONGODB_URL."""
    if kind == "mongodb":
        url = os.environ.get("MONGODB_URL")
        return MongoServer(url) if url else None
    if not os.environ.get("MYSQL_HOST"):
        return None
    return MySQLServer(
        os.environ["MYSQL_HOST"],
        int(os.environ.get("MYSQL_PORT", "3306")),
        os.environ.get("MYSQL_USER", "root"),
        os.environ.get("MYSQL_PASSWORD", ""),
    )


class TestRun:
    """What the processes of one test run (pytest, and its xdist workers) share, in a folder of the run's own."""

    __test__ = False

    def __init__(self, owner: int, source: Source | None) -> None:
        """`owner` is the process whose end is the run's; `source` None: the environment's, else local."""
        self.owner = owner
        self.source = source
        self.directory = _folder_of_runs() / f"{DIRECTORY_PREFIX}{owner}"

    def clear(self) -> None:
        """Remove what earlier runs left: ones that were killed, or had this process's id."""
        for directory in self.directory.parent.glob(f"{DIRECTORY_PREFIX}*"):
            owner = int(directory.name.removeprefix(DIRECTORY_PREFIX))
            if owner == self.owner or not _is_running(owner):
                shutil.rmtree(directory, ignore_errors=True)

    def mysql(self) -> MySQLServer:
        """Return the run's MySQL server, started if it was not; raise `ServerUnavailable`."""
        server = self._server("mysql")
        if not isinstance(server, MySQLServer):
            raise TypeError(server)
        return server

    def mongodb(self) -> MongoServer:
        """Return the run's MongoDB server, started if it was not; raise `ServerUnavailable`."""
        server = self._server("mongodb")
        if not isinstance(server, MongoServer):
            raise TypeError(server)
        return server

    @contextmanager
    def only_one(self, name: str) -> Iterator[Path]:
        """Let one process of the run at a time do what `name` stands for; yields a path to leave a result at."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with (self.directory / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.directory / f"{name}.json"

    def _server(self, kind: Kind) -> MySQLServer | MongoServer:
        if self.source is None and (named := from_environment(kind)):
            return named
        with self.only_one(kind) as result:
            failure = result.with_suffix(".failed")
            if failure.exists():  # not tried anew by every test of the run
                raise ServerUnavailable(failure.read_text())
            if not result.exists():
                self._start_keeper(kind, result, failure)
            content = json.loads(result.read_text())
        return MySQLServer(**content) if kind == "mysql" else MongoServer(**content)

    def _start_keeper(self, kind: Kind, result: Path, failure: Path) -> None:
        log = self.directory / f"{kind}-keeper.log"
        command = [sys.executable, "-m", "tests.harness.keeper", kind, self.source or "local", str(self.owner)]
        with log.open("wb") as output:
            keeper = subprocess.Popen(
                [*command, str(self.directory)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not result.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                failure.write_text(f"{kind} did not start:\n{log.read_text(errors='replace')}")
                raise ServerUnavailable(failure.read_text())
            time.sleep(0.02)
        keeper.returncode = 0  # it outlives this process by design: no warning that it still runs


def _folder_of_runs() -> Path:
    """Return the same for all processes of a run, however full it has become."""
    with contextlib.suppress(OSError):
        memory = os.statvfs(MEMORY_FOLDER)
        if memory.f_frsize * memory.f_blocks >= MEMORY_BYTES and os.access(MEMORY_FOLDER, os.W_OK):
            return MEMORY_FOLDER
    return Path(tempfile.gettempdir())


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def publish(result: Path, server: MySQLServer | MongoServer) -> None:
    """Write where a server is, so that a reader sees all of it or nothing."""
    unfinished = result.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(server)))
    unfinished.rename(result)
