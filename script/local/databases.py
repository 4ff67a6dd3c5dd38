"""The databases of script/server: those that the environment names, else local ones with their data in `.local/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vibework.testing.local import ports
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.mysql_installation import find as find_mysql
from vibework.testing.local.processes import Process

from script.local import mongodb_installation, mysql_installation
from script.local.mongodb import LocalMongoDB
from script.local.mysql import TELLING_OPTIONS, LocalMySQL
from script.local.progress import step

MYSQL_PORT = 13306
MONGODB_PORT = 37017
MYSQL_NAME = "vibework"
MONGODB_NAME = "vibework_notifications"


@dataclass
class Databases:
    """What the services need to know, and the servers that were started here (None: the environment's)."""

    mysql: LocalMySQL | None
    mongodb: LocalMongoDB | None

    def start(self) -> None:
        """Start the local servers, both at once, and wait for them; what is not installed is installed first."""
        if self.mysql is not None and find_mysql() is None:
            with step("Installing MariaDB"):
                mysql_installation.find_or_install()
        if self.mongodb is not None and not mongodb_installation.is_there(self.mongodb.program_cache):
            with step("Fetching MongoDB"):
                mongodb_installation.find_or_install(self.mongodb.program_cache)
        servers = [server for server in (self.mysql, self.mongodb) if server is not None]
        if not servers:
            return
        with step("Starting the databases"):
            for server in servers:
                server.begin()
            for server in servers:
                server.wait()

    def processes(self) -> list[Process]:
        """Return the processes of the local servers that were started."""
        servers = [server for server in (self.mysql, self.mongodb) if server is not None]
        return [server.process for server in servers if server.process is not None]

    def environment(self) -> dict[str, str]:
        """Return the settings that point the services at the local servers."""
        mysql = {} if self.mysql is None else self.mysql.settings()
        mongodb = {} if self.mongodb is None else {"MONGODB_URL": _with_name(self.mongodb.url)}
        return {**mysql, **mongodb}

    def lines(self) -> list[str]:
        """Return what the reader wants to know of each database, without passwords."""
        mysql, mongodb = "as named by MYSQL_HOST", "as named by MONGODB_URL"
        if self.mysql is not None:
            account = self.mysql.account
            mysql = f"{ports.LOOPBACK}:{self.mysql.port}   database {account.database}, user {account.user}"
        if self.mongodb is not None:
            mongodb = _with_name(self.mongodb.url)
        return [f"MySQL          {mysql}", f"MongoDB        {mongodb}"]


def described(folder: Path, credentials: Mapping[str, str], *, program_cache: Path, usual_ports: bool) -> Databases:
    """Return the databases to use, the local ones not yet started, with their data under `folder`.

    `program_cache` is where a packaged mongod is kept. `usual_ports`: on ports that a reader can remember, where
    they are free; otherwise on any that are.
    """
    choose = ports.preferred_port if usual_ports else lambda _: ports.free_port()
    account = MySQLAccount("vibework", credentials["MYSQL_PASSWORD"], MYSQL_NAME)
    mysql, mongodb = None, None
    if not os.environ.get("MYSQL_HOST"):
        mysql = LocalMySQL(folder / "mysql", account, port=choose(MYSQL_PORT), durable=True, options=TELLING_OPTIONS)
    if not os.environ.get("MONGODB_URL"):
        mongodb = LocalMongoDB(
            folder / "mongodb",
            program_cache=program_cache,
            port=choose(MONGODB_PORT),
            durable=True,
        )
    return Databases(mysql, mongodb)


def _with_name(url: str) -> str:
    return url.replace("/?", f"/{MONGODB_NAME}?")
