"""Writers that call both services until they are told to stop, and note what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1.notification_pb2 import NotificationContent, NotificationType
from vibework.notifications.v1.notification_service_pb2 import (
    BatchCreateNotificationsRequest,
    MarkNotificationsRequest,
    NotificationMark,
)
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.users.v1.session_service_pb2 import SignUpRequest
from vibework.users.v1.session_service_pb2_grpc import SessionServiceStub
from vibework.users.v1.user_pb2 import User
from vibework.users.v1.user_service_pb2 import UpdateUserRequest
from vibework.users.v1.user_service_pb2_grpc import UserServiceStub

from script.drill.ledger import Kind, Ledger

BATCH = 20
# Writers of each kind; a call's limit in seconds.
WRITERS = 4
_TIMEOUT = 20.0

OneWrite = Callable[[Ledger], Awaitable[None]]


async def write_until(stop: asyncio.Event, users_address: str, notifications_address: str, ledger: Ledger) -> None:
    """Write through both services until ``stop`` is set."""
    async with (
        grpc.aio.insecure_channel(users_address) as users_channel,
        grpc.aio.insecure_channel(notifications_address) as notifications_channel,
    ):
        works = (_users_work(users_channel), _notifications_work(notifications_channel))
        async with asyncio.TaskGroup() as group:
            for work in works * WRITERS:
                group.create_task(_repeat(work, stop, ledger))


async def _repeat(work: OneWrite, stop: asyncio.Event, ledger: Ledger) -> None:
    while not stop.is_set():
        try:
            await work(ledger)
        except grpc.aio.AioRpcError:
            ledger.failed += 1


def _users_work(channel: grpc.aio.Channel) -> OneWrite:
    sessions = SessionServiceStub(channel)
    users = UserServiceStub(channel)

    async def work(ledger: Ledger) -> None:
        """Sign a user up, which writes three tables at once, and rename it twice."""
        email = f"{uuid.uuid4().hex}@drill.example"
        with ledger.acknowledging(Kind.SIGN_UP, email):
            signed_up = await sessions.SignUp(SignUpRequest(email=email, password=uuid.uuid4().hex), timeout=_TIMEOUT)
        for number in (1, 2):
            user = User(id=signed_up.user.id, name=str(number))
            request = UpdateUserRequest(user=user, update_mask=FieldMask(paths=["name"]))
            with ledger.acknowledging(Kind.UPDATE, email, number):
                await users.UpdateUser(request, timeout=_TIMEOUT)

    return work


def _notifications_work(channel: grpc.aio.Channel) -> OneWrite:
    stub = NotificationServiceStub(channel)
    numbers = itertools.count()

    async def work(ledger: Ledger) -> None:
        """Create a batch for one user, and mark it as read."""
        user_id, batch = f"drill-{next(numbers) % 100}", uuid.uuid4().hex
        with ledger.acknowledging(Kind.BATCH, batch):
            created = await stub.BatchCreateNotifications(_batch(user_id, batch), timeout=_TIMEOUT)
        request = MarkNotificationsRequest(
            user_id=user_id,
            ids=[notification.id for notification in created.notifications],
            mark=NotificationMark.NOTIFICATION_MARK_READ,
        )
        with ledger.acknowledging(Kind.MARK, batch):
            await stub.MarkNotifications(request, timeout=_TIMEOUT)

    return work


def _batch(user_id: str, batch: str) -> BatchCreateNotificationsRequest:
    content = NotificationContent(
        title="drill", message="x" * 200, type=NotificationType.NOTIFICATION_TYPE_IN_APP, category=batch
    )
    item = BatchCreateNotificationsRequest.Item(user_id=user_id, content=content)
    return BatchCreateNotificationsRequest(items=BatchCreateNotificationsRequest.Items(items=[item] * BATCH))
