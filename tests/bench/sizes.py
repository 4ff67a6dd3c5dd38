"""Measures what a row of each table and a notification take, with their indexes: the figures of docs/scaling.md.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.sizes`` starts empty databases in a folder of its own, migrates
them, and fills them behind their indexes, as life does: indexes that are built afterwards are denser.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from chassis.commands.report import table
from script.local import ports
from script.local.mongodb import LocalMongoDB
from script.local.mysql import LocalMySQL, MySQLAccount
from script.local.progress import step
from script.local.services import Service
from tests.bench import sizes_mongodb, sizes_mysql
from tests.bench.dataset import MIGRATE_SECONDS, ROOT

NAME = "sizes"
# Not a secret: made up here, for a database on loopback that is thrown away.
PASSWORD = "sizes"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1_000), help="Rows of each table.")
@click.option("--notifications", default=200_000, show_default=True, type=click.IntRange(1_000), help="Notifications.")
def main(rows: int, notifications: int) -> None:
    """Print the bytes that rows and index entries take on disk, measured on databases filled for it."""
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as (mysql, url):
        with step(f"Writing {rows:,} rows to each table of MySQL"):
            sizes = asyncio.run(sizes_mysql.measure(mysql, rows))
        with step(f"Writing {notifications:,} notifications to MongoDB"):
            sizes += sizes_mongodb.measure(url, notifications)
    show(sizes)


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[Mapping[str, str], str]]:
    """Run both servers, migrated; yield the settings of one and the URL of the other."""
    with _mysql_server(folder) as settings, mongodb_server(folder) as url:
        yield settings, url


@contextmanager
def _mysql_server(folder: Path) -> Iterator[Mapping[str, str]]:
    server = LocalMySQL(folder / "mysql", MySQLAccount(NAME, PASSWORD), options=("--innodb-buffer-pool-size=512M",))
    try:
        server.start()
        settings = _mysql_settings(server)
        asyncio.run(sizes_mysql.create_database(settings))
        _migrate("users-service", settings, folder)
        yield settings
    finally:
        server.stop()


@contextmanager
def mongodb_server(folder: Path) -> Iterator[str]:
    """Run a migrated, empty MongoDB of its own; yield its URL."""
    server = LocalMongoDB(folder / "mongodb", program_cache=ROOT / ".local" / "mongod")
    try:
        server.start()
        url = server.url.replace("/?", f"/{NAME}?")
        _migrate("notifications-service", {"MONGODB_URL": url}, folder)
        yield url
    finally:
        server.stop()


def _mysql_settings(server: LocalMySQL) -> Mapping[str, str]:
    return {
        "MYSQL_HOST": ports.LOOPBACK,
        "MYSQL_PORT": str(server.port),
        "MYSQL_USER": NAME,
        "MYSQL_PASSWORD": PASSWORD,
        "MYSQL_DATABASE": NAME,
    }


def _migrate(command: str, settings: Mapping[str, str], folder: Path) -> None:
    run = Service(command, command, 0, settings).run("migrate", "up", log=folder / f"{command}.log")
    if code := run.finish(grace=MIGRATE_SECONDS):
        raise RuntimeError(f"{command} migrate up ended with code {code}: {run.tail()}")


def show(sizes: Sequence[tuple[str, int, float]]) -> None:
    """Print what each kind of row takes: its name, how many were measured, and their mean size."""
    for line in table([{"what": what, "rows": rows, "bytes each": round(each)} for what, rows, each in sizes]):
        click.echo(line)


if __name__ == "__main__":
    main()
