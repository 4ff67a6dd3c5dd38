"""How many events of the shared change stream one process reads: what bounds the writes of a cluster that is watched.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.stream_bench`` writes notifications first and reads their events
afterwards, as fast as it goes, as every process with a watcher must; none of them is for a watcher of its own.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from itertools import islice
from pathlib import Path

import click
import pymongo
import uvloop
from pydantic import SecretStr

from notifications_service.mongodb import codec
from notifications_service.mongodb.database import Database
from notifications_service.notification import schema
from notifications_service.settings import DatabaseSettings
from notifications_service.watch import changes
from notifications_service.watch.change_stream import opened
from tests.bench import sizes_mongodb
from tests.bench.sizes import mongodb_server


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--events", default=50_000, show_default=True, type=click.IntRange(1_000))
def main(events: int) -> None:
    """Print events a second and processor time per event."""
    with tempfile.TemporaryDirectory() as folder, mongodb_server(Path(folder)) as url:
        with pymongo.MongoClient[codec.Document](url) as client:
            begin = client.admin.command("hello")["$clusterTime"]["clusterTime"]
            rows = sizes_mongodb.notifications(events, random.Random(1))
            while some := list(islice(rows, sizes_mongodb.PER_CALL)):
                client.get_default_database()[schema.COLLECTION].insert_many(some, ordered=False)
        seconds, processor = uvloop.run(_read(url, changes.before(begin), events))
    click.echo(f"{events / seconds:,.0f} events/s, {processor / events * 1e6:.0f} µs of processor time each")


async def _read(url: str, begin: changes.StreamPosition, events: int) -> tuple[float, float]:
    database = Database(DatabaseSettings(mongodb_url=SecretStr(url)))
    seen = 0
    async with opened(database, begin, wait=1.0) as stream:
        started, processor = time.perf_counter(), time.process_time()
        async with asyncio.timeout(120):
            while seen < events:
                seen += await stream.next() is not None
        taken = time.perf_counter() - started, time.process_time() - processor
    await database.close()
    return taken


if __name__ == "__main__":
    main()
