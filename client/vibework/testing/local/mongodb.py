"""A mongod as a local process: a replica set of one member, on loopback."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vibework.testing.local import ports
from vibework.testing.local.database_servers import START_TIMEOUT_SECONDS, LocalDatabaseServer
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.processes import Process

INSTEAD = "install MongoDB 6.0+ so that mongod is on PATH, or name a replica set in MONGODB_URL"
REPLICA_SET = "rs0"
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


def find() -> Path | None:
    """Return mongod on PATH, or None."""
    found = shutil.which("mongod")
    return Path(found) if found else None


class LocalMongoDB(LocalDatabaseServer):
    """A mongod with its data in `directory`/data, its log in `directory`/mongodb.log.

    `options` are further options of mongod.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        cache_gb: float = 0.5,
        options: Sequence[str] = (),
    ) -> None:
        """Describe the server; `start` starts it. Without `port` a free one is taken."""
        own = () if durable else THROWAWAY_OPTIONS
        super().__init__(directory, port=port, durable=durable, options=(*own, *options))
        self._cache_gb = cache_gb

    @property
    def url(self) -> str:
        """The URL that clients of the replica set use."""
        return f"mongodb://{ports.LOOPBACK}:{self.port}/?replicaSet={REPLICA_SET}"

    def program(self) -> Path:
        """Return the path of mongod. Raises `LocalProblem` where it is not installed."""
        found = find()
        if found is None:
            raise LocalProblem(f"mongod is not installed: {INSTEAD}")
        return found

    def begin(self) -> None:
        """Start mongod without waiting for it."""
        program = self.program()
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
        self.process = Process(
            "MongoDB",
            command,
            log=self.directory / "mongodb.log",
            on_parent_death=self._on_parent_death,
            readable=_error_in,
        )

    def wait(self) -> None:
        """Wait until mongod answers, make it the primary of its replica set, and wait for that."""
        self.begun.wait_until(lambda: ports.is_taken(self.port), timeout=START_TIMEOUT_SECONDS)
        make_primary(self.port, timeout=START_TIMEOUT_SECONDS)


def _error_in(line: str) -> str | None:
    """Return what a line of mongod's log (JSON) says if it is an error; lines before the log begins are plain."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    return f"{entry.get('msg')} {json.dumps(entry.get('attr', {}))}" if entry.get("s") in {"E", "F"} else None


def make_primary(
    port: int, *, member: str | None = None, at: str = ports.LOOPBACK, timeout: float = START_TIMEOUT_SECONDS
) -> None:
    """Make the mongod on a port the primary of a replica set of its own, and wait for that.

    `member` is the address that the member is known by, `127.0.0.1:port` if not given. One that was known by another
    address (a kept data directory on a new port) is given this one. `at` is the host to connect to.
    """
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](
        at, port, directConnection=True, serverSelectionTimeoutMS=int(timeout * 1000)
    ) as client:
        _configure(client, member or f"{ports.LOOPBACK}:{port}")
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
