"""Scheduled mails: how late they are on an idle system, and while very many of one moment are moved into the feed.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.scheduled_bench``. Both services, a worker and the mail
catcher are processes of their own, with what is set by default. It ends when the many are in the feed: how fast
mails go out, ``script/bench --only delivery`` says.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import grpc
import pymongo
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from notifications_service.notification import documents
from notifications_service.notification.documents import Draft, Type
from script.local.progress import step
from tests.bench.delivery_bench import EMAIL, Stack, requests, stack
from tests.bench.plan import user_id
from tests.harness.clocks import stored_now

MANY: Final = 100_000
# Those that are due by themselves, at different times; the first one when all are stored.
ALONE: Final = 20
APART: Final = timedelta(milliseconds=730)
SOON: Final = timedelta(seconds=3)
SLICE: Final = 5_000
# While the many are moved, one is created so often, and another one comes due.
EVERY: Final = 2.0
# How long the last of these may take, beyond what is measured.
PATIENCE_SECONDS: Final = 120.0
CREATED: Final = "created meanwhile"
DUE: Final = "due meanwhile"


def scheduled(it: Stack, times: Sequence[datetime], title: str) -> Iterator[dict[str, Any]]:
    """Yield mails that wait for these times."""
    before = stored_now() - timedelta(hours=1)
    for number, at in enumerate(times):
        user = user_id(it.plan.recipients[number % len(it.plan.recipients)])
        yield documents.new(Draft(user, title, "A line of text.\n" * 20, Type.EMAIL, scheduled_at=at), before)


def lateness(database: Any, title: str) -> dict[str, Any]:
    """Return by how many seconds those of a title came too late: into the feed, and to the far end; at most."""
    found = {row["_id"]: row for row in database.notifications.find({"title": title})}
    due = {key: row["delivery"].get("scheduledAt", row["createdAt"]) for key, row in found.items()}
    sent = {
        row["notificationId"]: row["sentAt"]
        for row in database.deliveries.find({"notificationId": {"$in": list(found)}, "state": "sent"})
    }
    if sent.keys() != found.keys():
        raise RuntimeError(f"{len(found) - len(sent)} of {title!r} were not sent")
    return {
        "number": len(found),
        "feed": round(max((row["createdAt"] - due[key]).total_seconds() for key, row in found.items()), 2),
        "sent": round(max((sent[key] - due[key]).total_seconds() for key in found), 2),
    }


def wait(database: Any, title: str, number: int) -> None:
    """Wait until so many of a title are sent."""
    end = time.monotonic() + PATIENCE_SECONDS
    while database.notifications.count_documents({"title": title, "delivery.state": "sent"}) < number:
        if time.monotonic() > end:
            raise RuntimeError(f"{title!r} does not come to an end")
        time.sleep(0.5)


def idle(it: Stack, database: Any) -> dict[str, Any]:
    """Let a few come due where nothing else is to be done."""
    first = stored_now() + SOON
    database.scheduled_notifications.insert_many(
        list(scheduled(it, [first + number * APART for number in range(ALONE)], "alone"))
    )
    wait(database, "alone", ALONE)
    return lateness(database, "alone")


def many(it: Stack, database: Any, number: int) -> dict[str, Any]:
    """Let very many come due at one moment, and others meanwhile."""
    waiting, keys, due = database.scheduled_notifications, [], stored_now() + timedelta(days=1)
    with step(f"Storing {number:,} scheduled mails"):
        for start in range(0, number, SLICE):
            rows = list(scheduled(it, [due] * min(SLICE, number - start), "many"))
            waiting.insert_many(rows)
            keys += [row["_id"] for row in rows]
    # They came due a moment ago: to store them takes longer than the moment lasts.
    due = stored_now()
    waiting.update_many({}, {"$set": {"dueAt": due, "delivery.scheduledAt": due}})
    began, made = time.monotonic(), 0
    content = feed_pb.CreateNotificationRequest.FromString(requests(it.plan, EMAIL)[0])
    content.content.title = CREATED
    with grpc.insecure_channel(it.server.address) as channel:
        stub = NotificationServiceStub(channel)
        while waiting.count_documents({"dueAt": due}, limit=1):
            stub.CreateNotification(content)
            waiting.insert_many(list(scheduled(it, [stored_now()], DUE)))
            made += 1
            time.sleep(EVERY)
    took = time.monotonic() - began
    for title in (CREATED, DUE):
        wait(database, title, made)
    came = {row["_id"]: row["createdAt"] for row in database.notifications.find({"title": "many"}, {"createdAt": 1})}
    times = [came[key] for key in keys]
    return {
        "number": number,
        "seconds": round(took, 1),
        "in_order": all(one <= other for one, other in pairwise(times)),
        CREATED: lateness(database, CREATED),
        DUE: lateness(database, DUE),
        "sent": database.deliveries.count_documents({"state": "sent"}),
        "still_to_send": database.deliveries.count_documents({"dueAt": {"$exists": True}}),
    }


@click.command()
@click.option("--number", default=MANY, show_default=True, type=click.IntRange(1_000), help="Mails of one moment.")
def main(number: int) -> None:
    """Measure, and print JSON: times in seconds, of the latest one each."""
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder)) as it:
        it.start.worker("scheduled-worker", {**it.settings, "DELIVERY_POLL_MS": "1000"})
        with pymongo.MongoClient[dict[str, Any]](it.url) as client:
            database = client.get_default_database()
            click.echo(json.dumps({"idle": idle(it, database), "many": many(it, database, number)}, indent=2))


if __name__ == "__main__":
    main()
