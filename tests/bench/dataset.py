"""Keeps the seeded databases between runs, since making them takes longer than measuring."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pymongo
from vibework.testing.local.services import Service, migrate

from notifications_service.notification import schema
from tests.bench import seed_mongodb, seed_mysql
from tests.bench.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
# What the stored form follows from: a change of any of these makes the dataset anew.
SOURCES = ("migrations/mysql/versions/*.py", "migrations/mongodb/*.py", "tests/bench/seed_*.py", "tests/bench/plan.py")
# Rows must outlive the days that a dataset is kept, or the sweeper would thin it out.
RETENTION_DAYS = 3_650


@dataclass(frozen=True)
class Dataset:
    """One seeded pair of databases, and the settings of the services that use it."""

    plan: Plan
    users: Mapping[str, str]
    notifications: Mapping[str, str]


def fingerprint(scale: float) -> str:
    """Return what names a dataset: its scale and everything that decides its form."""
    digest = hashlib.sha256(f"{scale:g}".encode())
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder_for(parent: Path, scale: float) -> Path:
    """Return the folder of the dataset, having removed those of its size that have another form."""
    wanted = parent / f"data-{scale:g}-{fingerprint(scale)}"
    for other in parent.glob(f"data-{scale:g}-*"):
        if other != wanted:
            shutil.rmtree(other)
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


def made_at(stamp: Path) -> datetime | None:
    """Return when the dataset of the stamp was completed, None where there is none."""
    return datetime.fromisoformat(json.loads(stamp.read_text())["made_at"]) if stamp.exists() else None


def prepare(dataset: Dataset, stamp: Path) -> None:
    """Seed both databases and bring their schemas up, then write the stamp."""
    url = dataset.notifications["MONGODB_URL"]
    with pymongo.MongoClient[dict[str, object]](url) as client:
        client.drop_database(client.get_default_database().name)
    migrate([Service("users", 0, dataset.users)], stamp.parent)
    asyncio.run(seed_mysql.seed(dataset.users, dataset.plan))
    # The rows first: indexes over what is there are built many times faster than row by row.
    seed_mongodb.seed(url, dataset.plan)
    migrate([Service("notifications", 0, dataset.notifications)], stamp.parent)
    stamp.write_text(json.dumps({"made_at": dataset.plan.made_at.isoformat()}))


def remove_traces(dataset: Dataset) -> None:
    """Delete the notifications that a run created, so that every run finds the same."""
    with pymongo.MongoClient[dict[str, object]](dataset.notifications["MONGODB_URL"]) as client:
        collection = client.get_default_database()[schema.COLLECTION]
        collection.delete_many({"createdAt": {"$gt": dataset.plan.made_at}})


def now() -> datetime:
    """Return the time in UTC, naive, in whole seconds."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
