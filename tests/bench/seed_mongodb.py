"""Fills the notifications collection, by several processes; the indexes are built afterwards, by the migrations."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pymongo
from pymongo import WriteConcern

from notifications_service.mongodb import codec
from notifications_service.notification import documents, schema
from notifications_service.notification.documents import Draft, Type
from tests.bench import plan as planned
from tests.bench.plan import Plan

PROCESSES = 3
DOCUMENTS_PER_CALL = 5_000
TYPES = (Type.IN_APP, Type.IN_APP, Type.EMAIL, Type.PUSH)
CATEGORIES = ("", "social", "billing", "system")
TEXT = "Somebody you follow has written something that may be of interest to you; have a look when you find the time."


def seed(url: str, plan: Plan) -> None:
    """Insert all notifications of the plan into the database of the URL, which holds none."""
    calls = [(url, plan, start) for start in range(0, plan.notifications, DOCUMENTS_PER_CALL)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(_insert, calls, chunksize=1)


def _insert(url: str, plan: Plan, start: int) -> None:
    numbers = range(start, min(start + DOCUMENTS_PER_CALL, plan.notifications))
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        collection = client.get_default_database().get_collection(
            schema.COLLECTION, write_concern=WriteConcern(1, j=False)
        )
        collection.insert_many([document(plan, number) for number in numbers], ordered=False)


def document(plan: Plan, number: int) -> codec.Document:
    """Return a notification as the service stores it; half are read, a tenth archived, some never seen."""
    at = plan.created_at(number)
    draft = Draft(
        user_id=planned.user_id(plan.owner(number)),
        title=f"Notification number {number}",
        message=TEXT,
        type=TYPES[number % len(TYPES)],
        category=CATEGORIES[number // 7 % len(CATEGORIES)],
        data={"path": f"/items/{number}", "count": number % 10} if number % 2 else None,
    )
    made = documents.new(draft, at)
    made["_id"] = plan.notification_id(number)
    state = number // 3 % 10
    made.update(seen=state >= 3, read=state >= 5, archived=state == 9)
    for name, reached in (("seenAt", state >= 3), ("readAt", state >= 5), ("archivedAt", state == 9)):
        if reached:
            made[name] = at
    return made
