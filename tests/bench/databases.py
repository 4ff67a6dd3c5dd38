"""The database servers of a run, on data that is kept between runs, and the datasets on them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vibework.testing.local import ports
from vibework.testing.local.mysql import MySQLAccount

from script.local.mongodb import LocalMongoDB
from script.local.mysql import LocalMySQL
from script.local.progress import step
from tests.bench import dataset as datasets
from tests.bench.dataset import ROOT, Dataset
from tests.bench.plan import Plan
from tests.bench.seed_mysql import connect

# Not secrets: made up here, for databases on loopback that hold made-up rows.
PASSWORD = "bench"
SECRET_KEYS = "bench:" + base64.b64encode(bytes(range(32))).decode()
# The rows fit into memory, as they would in production; a kept dataset must survive the end of its server.
MYSQL_OPTIONS = ("--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=2", "--skip-log-bin")
SHARED = {"GRPC_HOST": ports.LOOPBACK, "LOG_FORMAT": "json", "SECRET_KEYS": SECRET_KEYS}


@dataclass(frozen=True)
class Databases:
    """A MySQL server and a mongod, both running, and the folder that remembers which datasets they hold."""

    folder: Path
    mysql: LocalMySQL
    mongodb: LocalMongoDB

    @property
    def pids(self) -> list[int]:
        """Their processes, while they run."""
        return [each.process.pid for each in (self.mysql, self.mongodb) if each.process is not None]

    def dataset(self, name: str, scale: float) -> Dataset:
        """Return the dataset of this name, made now unless it was kept."""
        stamp = self.folder / f"{name}.json"
        kept = datasets.made_at(stamp)
        plan = Plan.scaled(scale, kept or datasets.now())
        found = Dataset(plan, self._users_settings(name), self._notifications_settings(name))
        if kept is None:
            rows = f"{plan.users:,} users, {plan.sessions:,} sessions, {plan.notifications:,} notifications"
            with step(f"Making {rows} (kept for the next run)"):
                asyncio.run(self._make_empty(name))
                datasets.prepare(found, stamp)
        return found

    async def _make_empty(self, name: str) -> None:
        connection = await connect(self._users_settings(""))
        async with connection.cursor() as cursor:
            await cursor.execute("SHOW DATABASES LIKE %s", (name,))
            if await cursor.fetchall():  # what a run that was stopped half-way left
                await cursor.execute(f"DROP DATABASE {name}")
            await cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        await connection.ensure_closed()

    def _users_settings(self, name: str) -> Mapping[str, str]:
        return {
            **SHARED,
            "MYSQL_HOST": ports.LOOPBACK,
            "MYSQL_PORT": str(self.mysql.port),
            "MYSQL_USER": self.mysql.account.user,
            "MYSQL_PASSWORD": self.mysql.account.password,
            "MYSQL_DATABASE": name,
            "PURGE_INTERVAL_MS": "0",
        }

    def _notifications_settings(self, name: str) -> Mapping[str, str]:
        return {
            **SHARED,
            "MONGODB_URL": self.mongodb.url.replace("/?", f"/{name}?"),
            "NOTIFICATIONS_RETENTION_DAYS": str(datasets.RETENTION_DAYS),
        }


@contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Start both servers on the data in the folder, and stop them at the end."""
    mysql = LocalMySQL(folder / "mysql", MySQLAccount("bench", PASSWORD), durable=True, options=MYSQL_OPTIONS)
    mongodb = LocalMongoDB(folder / "mongodb", program_cache=ROOT / ".local" / "mongod", durable=True, cache_gb=1.0)
    try:
        with step("Starting the databases"):
            for server in (mysql, mongodb):
                server.begin()
            for server in (mysql, mongodb):
                server.wait()
        yield Databases(folder, mysql, mongodb)
    finally:
        for server in (mysql, mongodb):
            server.stop()
