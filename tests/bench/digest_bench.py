"""Digests of one hour: how long a worker takes for very many items, and what immediate mails wait for meanwhile.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.digest_bench``. Both services, a worker and the mail catcher are
processes of their own. Each item is to be in exactly one digest, and each user is to have one.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import grpc
import pymongo
import uvloop
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from notifications_service.mongodb.database import Database
from notifications_service.mongodb.settings import MongoDBSettings
from notifications_service.notification import documents
from notifications_service.notification.documents import Draft, Type
from notifications_service.outbox import model, schema
from notifications_service.outbox.model import Deferral, Lane
from notifications_service.preferences.model import Mode
from notifications_service.preferences.repository import PreferencesRepository
from script.local.progress import step
from tests.bench.delivery_bench import EMAIL, Stack, requests, stack
from tests.bench.plan import user_id
from tests.bench.scheduled_bench import CREATED, EVERY, lateness, wait
from tests.harness.clocks import stored_now

ITEMS: Final = 100_000
OF_A_USER: Final = 200
CATEGORY: Final = "news"


async def prefer(url: str, users: list[str]) -> None:
    """Let users have what is of the category once an hour."""
    database = Database(MongoDBSettings(mongodb_url=url))  # type: ignore[arg-type]  # read from text
    preferences = PreferencesRepository(database, stored_now)
    for each in users:
        await preferences.set_entry(each, ("email", CATEGORY), Mode.DIGEST_HOURLY)
    await database.close()


def store(database: Any, user: str, hour: datetime) -> None:
    """Store ``OF_A_USER`` notifications that wait for a digest of the hour."""
    before, waits = hour - timedelta(minutes=30), {"lane": Lane.DIGEST.value, "deferral": Deferral.DIGEST.value}
    new = [documents.new(Draft(user, "item", "A line.", Type.EMAIL, CATEGORY), before) for _ in range(OF_A_USER)]
    items = [row | waits | {"dueAt": hour, "digestAt": hour} for each in new for row in model.of_notification(each)]
    database.notifications.insert_many(new)
    database.deliveries.insert_many(items)


def drain(it: Stack, database: Any, number: int) -> dict[str, Any]:
    """Let a worker send the digests, create mails meanwhile, and look at what became of all."""
    content = feed_pb.CreateNotificationRequest.FromString(requests(it.plan, EMAIL)[0])
    content.content.title = CREATED
    made, began = 0, time.monotonic()
    it.start.worker("digest-worker", {**it.settings, "DELIVERY_POLL_MS": "1000"})
    open_items = {
        "lane": {"$in": [Lane.DIGEST.value, Lane.CARRIED.value]},
        "dueAt": {"$exists": True},
        "channel": "email",
    }
    with grpc.insecure_channel(it.server.address) as channel:
        stub = NotificationServiceStub(channel)
        while database.deliveries.count_documents(open_items, limit=1, hint=schema.CLAIM_INDEX):
            stub.CreateNotification(content)
            made += 1
            time.sleep(EVERY)
    took = time.monotonic() - began
    wait(database, CREATED, made)
    carried = Counter(
        row.get("digestDeliveryId") for row in database.deliveries.find({"category": CATEGORY, "kind": "notification"})
    )
    digests = {row["_id"]: row["userId"] for row in database.deliveries.find({"kind": "digest", "state": "sent"})}
    return {
        "items": number,
        "seconds": round(took, 1),
        "digests": len(digests),
        "users_with_several": len(digests) - len(set(digests.values())),
        "items_in_one_digest": sum(count for key, count in carried.items() if key in digests),
        "items_sent": database.notifications.count_documents({"title": "item", "delivery.state": "sent"}),
        CREATED: lateness(database, CREATED),
    }


@click.command()
@click.option("--items", default=ITEMS, show_default=True, type=click.IntRange(OF_A_USER), help="Items of digests.")
def main(items: int) -> None:
    """Measure, and print JSON: times in seconds, of the latest mail."""
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder)) as it:
        # Those to whom mails go that wait for no digest are others.
        users = [user_id(number) for number in range(it.plan.users) if number not in set(it.plan.recipients)]
        chosen = users[: items // OF_A_USER]
        hour = stored_now().replace(minute=0, second=0, microsecond=0)
        with pymongo.MongoClient[dict[str, Any]](it.url) as client:
            database = client.get_default_database()
            with step(f"Storing {len(chosen) * OF_A_USER:,} items of {len(chosen):,} users"):
                uvloop.run(prefer(it.url, chosen))
                for each in chosen:
                    store(database, each, hour)
            click.echo(json.dumps(drain(it, database, len(chosen) * OF_A_USER), indent=2))


if __name__ == "__main__":
    main()
