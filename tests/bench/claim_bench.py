"""Claims of a worker: how long one of 100 deliveries takes where so many are pending.

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
from typing import Any

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


async def claims(url: str) -> list[float]:
    """Return how long each of ``CLAIMS`` claims of a batch took, in milliseconds; of all due each is the oldest."""
    database = Database(MongoDBSettings(mongodb_url=url))  # type: ignore[arg-type]  # read from text
    outbox, found = OutboxRepository(database, NOW), list[float]()
    for number in range(CLAIMS + 1):
        began = time.perf_counter()
        taken = await outbox.claim("email", f"lease {number}", BATCH, LEASE)
        found.append((time.perf_counter() - began) * 1_000)
        assert len(taken) == BATCH
    await database.close()
    # The first opens a connection.
    return found[1:]


def measure(pending: int = PENDING) -> list[float]:
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
    found = sorted(measure(pending))
    click.echo(
        f"{BATCH} of {pending:,} pending, {CLAIMS} claims, {CLAIMS * BATCH / sum(found) * 1_000:,.0f} rows a second"
    )
    click.echo(f"median {statistics.median(found):.2f} ms, slowest {found[-1]:.2f} ms")


if __name__ == "__main__":
    main()
