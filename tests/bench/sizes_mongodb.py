"""Fills the notifications collection behind its indexes, and asks MongoDB what a notification takes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import pymongo
from bson import ObjectId

from chassis.contract.ids import new_id
from notifications_service.clock import truncated
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents, schema, states
from notifications_service.notification.documents import Draft, Type
from notifications_service.notification.states import State
from tests.harness.clocks import stored_now

PER_CALL: Final = 1_000
# Rows that are changed and deleted, for what that leaves in the logs.
CHANGED: Final = 2_000
ROWS_PER_USER: Final = 100
PERIOD: Final = timedelta(days=20)
# As a sharded collection needs it beside the others.
SHARD_INDEX: Final = "userId_hashed"


def measure(url: str, rows: int) -> list[tuple[str, int, float]]:
    """Fill the collection and return (what, rows, bytes for each) of documents, indexes and logs."""
    chance = random.Random(1)
    with pymongo.MongoClient[Document](url) as client:
        database = client.get_default_database()
        collection = database[schema.COLLECTION]
        collection.create_index([("userId", "hashed")], name=SHARD_INDEX)
        made = notifications(rows, chance)
        while some := list(islice(made, PER_CALL)):
            collection.insert_many(some, ordered=False)
        client.admin.command("fsync")
        return [*_sizes(database, rows), *_logs(client, collection)]


def _sizes(database: Any, rows: int) -> Iterator[tuple[str, int, float]]:
    stats = database.command("collStats", schema.COLLECTION)
    yield "notifications, as BSON", rows, stats["avgObjSize"]
    yield "notifications, on disk", rows, stats["storageSize"] / rows
    for name, size in stats["indexSizes"].items():
        yield f"notifications.{name}", rows, size / rows


def _logs(client: pymongo.MongoClient[Document], collection: Any) -> Iterator[tuple[str, int, float]]:
    ids = [row["_id"] for row in collection.find({"read": False}, {"_id": 1}, limit=CHANGED)]
    change = [{"$set": states.transition(State.READ, stored_now())}]
    for key in ids:
        collection.update_one({"_id": key}, change)
    for key in ids:
        collection.delete_one({"_id": key})
    log = client.local["oplog.rs"]
    for name, operation in (("insert", "i"), ("update", "u"), ("delete", "d")):
        yield f"log entry: {name}", *_mean(log, {"op": operation, "ns": collection.full_name})
    yield "image before a change", *_mean(client.config["system.preimages"], {})


def _mean(collection: Any, query: Document) -> tuple[int, float]:
    group = {"_id": None, "rows": {"$sum": 1}, "mean": {"$avg": {"$bsonSize": "$$ROOT"}}}
    (found,) = collection.aggregate([{"$match": query}, {"$group": group}])
    return found["rows"], found["mean"]


def notifications(rows: int, chance: random.Random) -> Iterator[Document]:
    """Yield notifications as the service stores them, in the order of their making, of a hundred rows a user."""
    users = [new_id("user") for _ in range(max(1, rows // ROWS_PER_USER))]
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randrange(2, 10))) for _ in range(2_000)]
    start = stored_now() - PERIOD
    for number in range(rows):
        at = truncated(start + PERIOD * (number / rows))
        draft = Draft(
            user_id=chance.choice(users),
            title=" ".join(chance.choices(words, k=4)),
            message=" ".join(chance.choices(words, k=16)),
            type=chance.choice((Type.IN_APP, Type.IN_APP, Type.EMAIL, Type.PUSH)),
            category=chance.choice(("", "social", "billing", "system")),
            data={"path": f"/items/{chance.getrandbits(40)}", "count": number % 10} if number % 2 else None,
        )
        yield _aged(documents.new(draft, at), chance.random())


def _aged(document: Document, age: float) -> Document:
    """Let half be read, a tenth archived and a third unseen; ids as the driver makes them."""
    at = document["createdAt"]
    document["_id"] = ObjectId()
    for name, share in (("seen", 0.7), ("read", 0.5), ("archived", 0.1)):
        if age < share:
            document.update({name: True, f"{name}At": at})
    return document
