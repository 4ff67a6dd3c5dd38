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
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.services import Service, migrate

from chassis.commands.tables import table
from script.local.mongodb import LocalMongoDB
from script.local.mysql import LocalMySQL
from script.local.progress import step
from tests.bench import sizes_mongodb, sizes_mysql
from tests.bench.dataset import ROOT

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
        settings = {**server.settings(), "MYSQL_DATABASE": NAME}
        asyncio.run(sizes_mysql.create_database(settings))
        migrate([Service("users", 0, settings)], folder)
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
        migrate([Service("notifications", 0, {"MONGODB_URL": url})], folder)
        yield url
    finally:
        server.stop()


def show(sizes: Sequence[tuple[str, int, float]]) -> None:
    """Print what each kind of row takes: its name, how many were measured, and their mean size."""
    for line in table([{"what": what, "rows": rows, "bytes each": round(each)} for what, rows, each in sizes]):
        click.echo(line)


if __name__ == "__main__":
    main()
