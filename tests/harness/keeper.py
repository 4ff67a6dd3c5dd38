"""Keeps one database server up for a test run: `python -m tests.harness.keeper KIND SOURCE OWNER DIRECTORY`.

A process of its own, so that the server lasts as long as the run (the owner), not as long as the process
that needed it first, and is gone after the run also when the run was killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.problems import LocalProblem

from script.local.mongodb import LocalMongoDB
from script.local.mysql import LocalMySQL
from tests.harness import database_containers
from tests.harness.database_servers import ROOT, MongoServer, MySQLServer, publish
from tests.harness.vitess import servers as vitess_servers

PROGRAM_CACHE = ROOT / ".local" / "mongod"


@contextmanager
def local_mysql(directory: Path, options: Sequence[str] = ()) -> Iterator[MySQLServer]:
    """Run a local MySQL server on data that is thrown away; `options`: more of the server's own."""
    account = MySQLAccount("harness", secrets.token_hex(16))
    server = LocalMySQL(directory, account, options=options)
    server.start()
    try:
        yield MySQLServer("127.0.0.1", server.port, account.user, account.password)
    finally:
        server.kill()


@contextmanager
def local_mongodb(directory: Path, options: Sequence[str] = ()) -> Iterator[MongoServer]:
    """Run a local mongod on data that is thrown away; `options`: more of mongod's own."""
    server = LocalMongoDB(directory, program_cache=PROGRAM_CACHE, options=options)
    server.start()
    try:
        yield MongoServer(server.url)
    finally:
        server.kill()


SOURCES: dict[tuple[str, str], Callable[..., AbstractContextManager[MySQLServer | MongoServer]]] = {
    ("mysql", "local"): local_mysql,
    ("mongodb", "local"): local_mongodb,
    ("mysql", "vitess"): vitess_servers.sharded,
    ("mongodb", "vitess"): local_mongodb,
    ("mysql", "containers"): database_containers.mysql,
    ("mongodb", "containers"): database_containers.mongodb,
}


def wait_for_end_of(owner: int) -> None:
    """Wait until the process has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError):
            select.select([os.pidfd_open(owner)], [], [])
        return
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(owner, 0)
            time.sleep(0.5)


def main() -> None:
    """Start the server, publish where it is, and end it once the owner has ended."""
    kind, source, owner, run_directory = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory = run_directory / kind
    directory.mkdir(exist_ok=True)
    try:
        with SOURCES[kind, source](directory) as server:
            publish(run_directory / f"{kind}.json", server)
            wait_for_end_of(owner)
    except LocalProblem as problem:
        raise SystemExit(f"{problem}\n{problem.detail}") from None
    _tidy(directory)


def _tidy(directory: Path) -> None:
    """Remove what this keeper had, and, being the last, what the run had."""
    run_directory = directory.parent
    shutil.rmtree(directory, ignore_errors=True)
    if not any(path.is_dir() for path in run_directory.iterdir()):
        shutil.rmtree(run_directory, ignore_errors=True)


if __name__ == "__main__":
    main()
