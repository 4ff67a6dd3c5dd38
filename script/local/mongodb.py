"""A mongod as a local process: a replica set of one member, on loopback."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from script.local import mongodb_installation, ports
from script.local.problems import LocalProblem
from script.local.processes import Process

REPLICA_SET = "rs0"
START_TIMEOUT_SECONDS = 60.0
NOT_YET_INITIALISED = 94
# Without zlib: by a message compressed with it, whoever reaches the port of a mongod before 6.0.27 reads its memory
# (CVE-2025-14847).
COMPRESSORS = "--networkMessageCompressors=snappy,zstd"
THROWAWAY_OPTIONS = (
    "--oplogSize=256",
    "--journalCommitInterval=5",  # ms; a drop of a database waits for it
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--setParameter=enableTestCommands=1",  # so that a test can make the server fail (configureFailPoint)
)


class LocalMongoDB:
    """A mongod with its data in `directory`/data, its log in `directory`/mongodb.log.

    `program_cache` is where a packaged mongod is kept. `options` are further options of mongod.
    """

    def __init__(
        self,
        directory: Path,
        *,
        program_cache: Path,
        port: int | None = None,
        durable: bool = False,
        cache_gb: float = 0.5,
        options: Sequence[str] = (),
    ) -> None:
        """Describe the server; `start` starts it. Without `port` a free one is taken."""
        self.directory = directory.resolve()
        self.port = port or ports.free_port()
        self.process: Process | None = None
        self.program_cache = program_cache
        self._cache_gb = cache_gb
        self._durable = durable
        self._options = (*(() if durable else THROWAWAY_OPTIONS), *options)

    @property
    def url(self) -> str:
        """The URL that clients of the replica set use."""
        return f"mongodb://{ports.LOOPBACK}:{self.port}/?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start mongod and wait until the replica set has its primary; raise `LocalProblem`."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start mongod without waiting for it."""
        program = mongodb_installation.find_or_install(self.program_cache)
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        if ports.is_taken(self.port):
            raise LocalProblem(f"port {self.port} is taken: MongoDB cannot listen there")
        command = [
            str(program),
            f"--dbpath={data}",
            f"--port={self.port}",
            f"--bind_ip={ports.LOOPBACK}",
            f"--replSet={REPLICA_SET}",
            "--nounixsocket",
            COMPRESSORS,
            f"--wiredTigerCacheSizeGB={self._cache_gb:g}",
            *self._options,
        ]
        signal_number = signal.SIGTERM if self._durable else signal.SIGKILL
        self.process = Process(
            "MongoDB",
            command,
            log=self.directory / "mongodb.log",
            on_parent_death=signal_number,
            readable=_error_in,
        )

    def wait(self) -> None:
        """Wait until mongod answers, make it the primary of its replica set, and wait for that."""
        if self.process is None:
            raise RuntimeError("begin() comes first")
        self.process.wait_until(lambda: ports.is_taken(self.port), timeout=START_TIMEOUT_SECONDS)
        make_primary(self.port, timeout=START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop mongod, what is written being on disk; harmless if it does not run."""
        if self.process is not None:
            self.process.stop(grace=30.0)

    def kill(self) -> None:
        """End mongod at once, as a crash would; `start` starts it again on the same data."""
        if self.process is not None:
            self.process.kill()


def _error_in(line: str) -> str | None:
    """Return what a line of mongod's log (JSON) says if it is an error; lines before the log begins are plain."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    return f"{entry.get('msg')} {json.dumps(entry.get('attr', {}))}" if entry.get("s") in {"E", "F"} else None


def make_primary(port: int, *, host: str | None = None, timeout: float = START_TIMEOUT_SECONDS) -> None:
    """Make the mongod on the loopback port the primary of a replica set of its own, and wait for that.

    `host` is the address that the member is known by, `127.0.0.1:port` if not given. A member that was
    known by another address (a kept data directory on a new port) is given this one.
    """
    import pymongo

    member = host or f"{ports.LOOPBACK}:{port}"
    with pymongo.MongoClient[dict[str, Any]](
        ports.LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=int(timeout * 1000)
    ) as client:
        _configure(client, member)
        deadline = time.monotonic() + timeout
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() > deadline:
                raise LocalProblem(f"MongoDB on port {port} did not become primary within {timeout:.0f} s")
            time.sleep(0.02)


def _configure(client: Any, member: str) -> None:
    from pymongo.errors import OperationFailure

    members = [{"_id": 0, "host": member}]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as failure:
        if failure.code != NOT_YET_INITIALISED:
            raise
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        return
    if [known["host"] for known in config["members"]] != [member]:
        renamed = {**config, "members": members, "version": config["version"] + 1}
        client.admin.command("replSetReconfig", renamed, force=True)
