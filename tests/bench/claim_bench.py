"""Claims of a worker: how long one of 100 deliveries takes where so many are pending, and what the bare driver needs.

A part of ``script/bench --only delivery``, and by itself ``PYTHONPATH=.:client .venv/bin/python -m
tests.bench.claim_bench``, which starts and fills a database of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import pymongo
import uvloop
from bson import ObjectId

from chassis.clock import utc_now
from notifications_service.clock import MillisecondClock, in_milliseconds
from notifications_service.delivery.worker import BATCH
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.settings import MongoDBSettings
from notifications_service.outbox import schema
from notifications_service.outbox.model import New, stored
from notifications_service.outbox.repository import OutboxRepository
from script.local.progress import step
from tests.bench.sizes import mongodb_server

PENDING = 1_000_000
CLAIMS = 50
SLICE = 10_000
LEASE = timedelta(minutes=1)


class Times(NamedTuple):
    """How long claims took, in milliseconds: the repository's, and the bare driver's."""

    ours: list[float]
    bare: list[float]


NOW: MillisecondClock = in_milliseconds(utc_now)


def rows(number: int, at: datetime) -> Iterator[list[dict[str, Any]]]:
    """Yield deliveries that have been due for up to an hour, in slices."""
    for start in range(0, number, SLICE):
        part = range(start, min(number, start + SLICE))
        ages = (timedelta(hours=1) * (number - each) / number for each in part)
        yield [stored(New(ObjectId(), f"user_{age.microseconds}", "email"), at - age) for age in ages]


def fill(url: str, number: int) -> None:
    """Store so many deliveries that are due."""
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        collection = client.get_default_database()[schema.COLLECTION]
        for part in rows(number, NOW()):
            collection.insert_many(part, ordered=False)
        # Rows that have just been stored are still being written to files.
        client.admin.command("fsync")


def bare(rows: Any, lease: str) -> int:
    """Claim a batch by PyMongo alone: the same three commands, and of the row no more than has to change."""
    now = NOW()
    due = {"channel": "email", "lane": None, "dueAt": {"$lte": now}}
    found = rows.find(due, {"_id": 1}, sort={"dueAt": 1}, limit=BATCH, batch_size=BATCH, hint=schema.CLAIM_INDEX)
    keys = [row["_id"] for row in found]
    taken = {"$set": {"state": "sending", "lease": lease, "dueAt": now + LEASE}, "$inc": {"rev": 1}}
    rows.update_many({"_id": {"$in": keys}, "dueAt": {"$lte": now}}, taken, hint="_id_")
    return len(list(rows.find({"_id": {"$in": keys}, "lease": lease}, batch_size=BATCH, hint="_id_")))


async def claims(url: str) -> Times:
    """Time ``CLAIMS`` claims of a batch of each kind, by turns; of all due each takes the oldest."""
    database = Database(MongoDBSettings(mongodb_url=url))  # type: ignore[arg-type]  # read from text
    outbox, times = OutboxRepository(database, NOW), Times([], [])
    with pymongo.MongoClient[dict[str, Any]](url, w="majority") as client:
        rows = client.get_default_database()[schema.COLLECTION]
        for number in range(CLAIMS + 1):
            began = time.perf_counter()
            taken = await outbox.claim("email", f"lease {number}", BATCH, LEASE)
            between = time.perf_counter()
            # Nothing else is to run in this process meanwhile.
            by_driver = bare(rows, f"bare {number}")
            ended = time.perf_counter()
            assert len(taken) == by_driver == BATCH
            times.ours.append((between - began) * 1_000)
            times.bare.append((ended - between) * 1_000)
    await database.close()
    # The first opens a connection.
    return Times(times.ours[1:], times.bare[1:])


def measure(pending: int = PENDING) -> Times:
    """Fill a database of its own with so many, and return the times of claims."""
    with tempfile.TemporaryDirectory() as folder, mongodb_server(Path(folder)) as url:
        with step(f"Writing {pending:,} pending deliveries"):
            fill(url, pending)
        return uvloop.run(claims(url))


@click.command()
@click.option(
    "--pending", default=PENDING, show_default=True, type=click.IntRange(10_000), help="Deliveries that wait."
)
def main(pending: int) -> None:
    """Measure, and print the median and the slowest in milliseconds."""
    found = measure(pending)
    rate = CLAIMS * BATCH / sum(found.ours) * 1_000
    click.echo(f"{BATCH} of {pending:,} pending, {CLAIMS} claims, {rate:,.0f} rows a second")
    for name, times in (("", found.ours), ("the bare driver: ", found.bare)):
        click.echo(
            f"{name}median {statistics.median(times):.2f} ms, fastest {min(times):.2f} ms, slowest {max(times):.2f} ms"
        )


if __name__ == "__main__":
    main()
