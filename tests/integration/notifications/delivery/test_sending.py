"""From a call to a mail: the production server and `deliver` processes, a real relay, a users service that answers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.relay import Relay, running
from tests.integration.notifications.building import create, items

FROM = "us@example.com"
# Short, so that another worker soon takes over.
LEASE_MS = 3_000
CONNECTIONS = 4
KEPT_SECONDS = 2 * PATIENCE_SECONDS


class EverybodyIsThere(user_service_pb2_grpc.UserServiceServicer):
    """A users service whose users all have a verified address."""

    async def BatchGetUsers(
        self, request: user_service_pb2.BatchGetUsersRequest, _context: Any
    ) -> user_service_pb2.BatchGetUsersResponse:
        """Answer with everybody who is named."""
        active = user_pb2.USER_STATE_ACTIVE
        users = [
            user_pb2.User(id=key, email=f"{key}@example.com", email_verified=True, state=active) for key in request.ids
        ]
        return user_service_pb2.BatchGetUsersResponse(users=users)


@pytest.fixture
async def users_address() -> AsyncIterator[str]:
    """The address of such a users service."""
    server = grpc.aio.server()
    user_service_pb2_grpc.add_UserServiceServicer_to_server(EverybodyIsThere(), server)  # type: ignore[abstract]
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    yield f"{LOOPBACK}:{port}"
    await server.stop(0)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay that takes everything, in plain text."""
    async with running(Relay()) as listening:
        yield listening


def email_settings(relay: Relay) -> dict[str, Any]:
    """Settings that lead to the relay."""
    return {"smtp_host": LOOPBACK, "smtp_port": relay.port, "smtp_security": "none", "email_from": FROM}


def ids(relay: Relay) -> list[str]:
    """The deliveries of the mails that the relay took, by their Message-ID."""
    found = [re.search(rb"(?mi)^Message-ID: <(dlv_\w+)@", mail.content) for mail in relay.mails]
    return [each[1].decode() for each in found if each]


@pytest.fixture(params=["pymongo", "motor"])
async def sending(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase, relay: Relay, users_address: str
) -> AsyncIterator[Notifications]:
    """A server that sends, under each driver."""
    settings = email_settings(relay) | {"users_address": users_address, "mongodb_driver": request.param}
    async with running_notifications(mongodb_module_database, **settings) as server:
        yield server


async def test_a_created_notification_reaches_its_users_mailbox(
    sending: Notifications, raw: Any, user_id: str, relay: Relay
) -> None:
    """The server sends it without being asked again, and the notification says that it was sent."""
    call = create(user_id, type=pb.NOTIFICATION_TYPE_EMAIL, title="Your parcel")
    created = (await sending.feed.CreateNotification(call)).notification
    await until(lambda: relay.mails != [], "the mail")
    sent = {"userId": user_id, "delivery.state": "sent"}
    await until(lambda: raw.notifications.count_documents(sent) == 1, "the state")
    found = await sending.feed.GetNotification(service.GetNotificationRequest(id=created.id))
    (mail,) = relay.mails
    assert mail.recipients == [f"{user_id}@example.com"]
    assert b"Subject: Your parcel" in mail.content
    assert ids(relay) == [raw.deliveries.find_one({"userId": user_id})["_id"]]
    assert found.notification.delivery_state == pb.DELIVERY_STATE_SENT
    assert found.notification.HasField("sent_at")
    assert found.notification.etag == created.etag


@asynccontextmanager
async def delivering_process(
    database: MongoDatabase, relay: Relay, users_address: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `notifications-service deliver` until the context ends."""
    settings = email_settings(relay) | {
        "users_address": users_address,
        "smtp_connections": CONNECTIONS,
        "delivery_lease_ms": LEASE_MS,
        "grpc_port": free_port(),
        "metrics_port": 0,
        "grpc_drain_ms": 0,
        "secret_keys": SECRET_KEYS,
    }
    own = {name.upper(): str(value) for name, value in settings.items()} | database.environment()
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **own}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifications_service", "deliver", env=variables, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)


async def create_all(database: MongoDatabase, user_ids: Sequence[str], users_address: str) -> None:
    """Have a server create notifications that it does not send itself."""
    settings: dict[str, Any] = {"delivery": "separate", "users_address": users_address}
    async with running_notifications(database, **settings) as server:
        email = pb.NotificationContent(title="t", message="m", type=pb.NOTIFICATION_TYPE_EMAIL)
        await server.feed.BatchCreateNotifications(items(*((user_id, email) for user_id in user_ids)))


@pytest.mark.long
async def test_what_a_killed_process_had_in_hand_is_sent_by_another(
    mongodb_database: MongoDatabase, raw_of_own: Any, relay: Relay, users_address: str
) -> None:
    """Nothing is lost; what comes twice was taken over, says so, and has the same Message-ID."""
    users = [f"user_{number:03d}" for number in range(200)]
    await create_all(mongodb_database, users, users_address)
    async with delivering_process(mongodb_database, relay, users_address) as killed:
        await until(lambda: len(relay.mails) >= CONNECTIONS, "the first mails")
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
    done = raw_of_own.deliveries.count_documents({"state": "sent"})
    assert done < len(users)
    async with delivering_process(mongodb_database, relay, users_address) as ending:
        # MongoDB keeps what a transaction of the killed process had locked for a minute, and half a minute to notice.
        sent = {"state": "sent"}
        await until(lambda: raw_of_own.deliveries.count_documents(sent) == len(users), "all mails", KEPT_SECONDS)
        ending.terminate()
        assert await asyncio.wait_for(ending.wait(), PATIENCE_SECONDS) == 0
    seen = Counter(ids(relay))
    assert seen.keys() == {row["_id"] for row in raw_of_own.deliveries.find()}
    twice = {key for key, number in seen.items() if number > 1}
    taken_over = {row["_id"] for row in raw_of_own.deliveries.find({"log.reason": "outcome_unknown"})}
    assert max(seen.values()) <= 2
    assert twice <= taken_over
