"""From a call to a browser: the production server, a push service over HTTPS, a users service that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import preference_service_pb2 as preferences

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import until
from tests.harness.push_service import Browser, PushService, Received, certificate, push_service, vapid_claims
from tests.integration.notifications.building import create
from tests.integration.notifications.delivery.test_sending import users_address
from tests.integration.notifications.test_push_subscriptions import NEW, PUSH, listed, register

__all__ = ["users_address"]

GONE = "/gone"


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PushService]:
    """A push service whose certificate the system trusts, and which no longer knows one of its subscriptions."""
    tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.file))
    async with push_service(tls) as service:

        async def answer(received: Received, writer: asyncio.StreamWriter) -> None:
            status = 410 if received.path == GONE else 201
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())

        service.behaviour = answer
        yield service


def settings(users_address: str) -> dict[str, Any]:
    """Settings of a server that may push to this machine."""
    return {**PUSH, "web_push_allow_loopback": True, "users_address": users_address}


async def subscribed(server: Notifications, browser: Browser) -> str:
    """Register a browser of the user `u`, and return the id of its subscription."""
    made = await register(server, "u", browser.endpoint, p256dh=browser.p256dh, auth=browser.auth)
    return str(made.id)


async def create_push(server: Notifications) -> None:
    """Create a notification for the user `u` that goes out by push."""
    await server.feed.CreateNotification(
        create("u", type=pb.NOTIFICATION_TYPE_PUSH, title="Your parcel", message="here")
    )


async def test_a_created_notification_reaches_its_users_browsers(
    mongodb_database: MongoDatabase, raw_of_own: Any, service: PushService, users_address: str
) -> None:
    """Each subscription has its own message; the one that is gone is removed, the other is in use."""
    browsers = {"/a": Browser(service.endpoint("a")), GONE: Browser(service.endpoint("gone"))}
    async with running_notifications(mongodb_database, **settings(users_address)) as server:
        kept, _ = [await subscribed(server, browser) for browser in browsers.values()]
        key = (await server.preferences.GetPushKey(preferences.GetPushKeyRequest())).public_key
        await create_push(server)
        await until(lambda: raw_of_own.deliveries.count_documents({"state": "sent"}) == 1, "the delivery")
        [left] = await listed(server, "u")
    row = raw_of_own.deliveries.find_one()
    for received in service.received:
        assert browsers[received.path].message(received) == {
            "title": "Your parcel",
            "body": "here",
            "notification_id": str(row["notificationId"]),
            "delivery_id": row["_id"],
        }
        # Browsers subscribed with the older key, which signs what they are sent.
        assert vapid_claims(received)[1] != key
    assert sorted(received.path for received in service.received) == ["/a", GONE]
    assert (left.id, left.HasField("last_used_at")) == (kept, True)


async def test_a_subscription_whose_key_was_given_up_is_not_tried(
    mongodb_database: MongoDatabase, raw_of_own: Any, service: PushService, users_address: str
) -> None:
    """Its delivery fails at once and for good, and says why."""
    async with running_notifications(mongodb_database, **settings(users_address)) as server:
        await subscribed(server, Browser(service.endpoint("a")))
    without = settings(users_address) | {"web_push_keys": f"k2:{NEW}", "web_push_keys_given_up": "k1"}
    async with running_notifications(mongodb_database, **without) as server:
        await create_push(server)
        failed = {"state": "failed", "attempts": 1}
        await until(lambda: raw_of_own.deliveries.count_documents(failed) == 1, "the delivery")
    assert raw_of_own.deliveries.find_one()["reason"] == "key_gone"
    assert service.received == []
