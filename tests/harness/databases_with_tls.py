"""MySQL and MongoDB that take nothing but TLS, or have none: servers of a test's own, as processes or containers.

An authority of ours vouches for those that have it, by the name `127.0.0.1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymongo
from vibework.testing.local.ports import LOOPBACK

from script.local.certificates import Authority
from tests.harness.database_servers import MongoServer, MySQLServer, TestRun
from tests.harness.keeper import SOURCES

# The same machine by a name that the certificates do not have.
OTHER_NAME: Final = "localhost"
# MariaDB has no TLS unless it is given a certificate, MySQL has it unless it is given no version of it.
_WITHOUT: Final = ("--loose-skip-ssl", "--loose-tls-version=")


@dataclass(frozen=True)
class CertificateFiles:
    """The authority of the servers, another one, and what a server has: certificate, key, and both in one file."""

    authority: Path
    stranger: Path
    certificate: Path
    key: Path
    pair: Path

    @classmethod
    def written(cls, folder: Path) -> CertificateFiles:
        """Make all anew, for servers that may run as another user."""
        folder.chmod(0o755)
        files = cls(*(folder / f"{name}.pem" for name in ("authority", "stranger", "certificate", "key", "pair")))
        authority = Authority.new("databases")
        issued = authority.issue("database", [LOOPBACK])
        files.authority.write_bytes(authority.certificate)
        files.stranger.write_bytes(Authority.new("others").certificate)
        files.certificate.write_bytes(issued.certificate)
        files.key.write_bytes(issued.key)
        files.pair.write_bytes(issued.certificate + issued.key)
        return files


@contextmanager
def mysql_with_tls(run: TestRun, folder: Path) -> Iterator[tuple[MySQLServer, CertificateFiles]]:
    """Run a MySQL server in a folder that refuses connections without TLS."""
    files = CertificateFiles.written(folder)
    named = {"ca": files.authority, "cert": files.certificate, "key": files.key}
    options = [*(f"--ssl-{name}={path}" for name, path in named.items()), "--require-secure-transport=ON"]
    with _started("mysql", run, folder, options) as server:
        assert isinstance(server, MySQLServer)
        yield server, files


@contextmanager
def mysql_without_tls(run: TestRun, folder: Path) -> Iterator[MySQLServer]:
    """Run a MySQL server in a folder that has no TLS."""
    with _started("mysql", run, folder, _WITHOUT) as server:
        assert isinstance(server, MySQLServer)
        yield server


@contextmanager
def mongodb_with_tls(run: TestRun, folder: Path) -> Iterator[tuple[MongoServer, CertificateFiles]]:
    """Run a mongod in a folder that refuses connections without TLS; it asks no certificate of its clients."""
    files = CertificateFiles.written(folder)
    named = {"tlsMode": "allowTLS", "tlsCertificateKeyFile": files.pair, "tlsCAFile": files.authority}
    options = [*(f"--{name}={value}" for name, value in named.items()), "--tlsAllowConnectionsWithoutCertificates"]
    with _started("mongodb", run, folder, options) as server:
        assert isinstance(server, MongoServer)
        with pymongo.MongoClient[dict[str, Any]](server.url) as client:
            # Until here it was set up in plain text. One step at a time, as mongod wants it.
            for mode in ("preferTLS", "requireTLS"):
                client.admin.command("setParameter", 1, tlsMode=mode)
        yield server, files


@contextmanager
def _started(kind: str, run: TestRun, folder: Path, options: Any) -> Iterator[MySQLServer | MongoServer]:
    with SOURCES[kind, run.source or "local"](folder, options) as server:
        yield server
