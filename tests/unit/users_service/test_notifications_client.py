"""The client of the notifications service, on a service that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2_grpc as pb_grpc

from chassis.settings import ServerSettings
from users_service.notifications_client import DELETE_SECONDS, MOST_CALLS, NotificationsClient, NotificationsLeft
from users_service.outbox.relay import LEASE


class Service(pb_grpc.NotificationServiceServicer):
    """Deletes so many notifications in each call."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)

    async def DeleteUserNotifications(self, _: Any, __: Any) -> pb.DeleteUserNotificationsResponse:
        """Delete the next ones."""
        number = self._numbers.pop(0)
        return pb.DeleteUserNotificationsResponse(deleted_count=number, incomplete=bool(self._numbers))


@asynccontextmanager
async def deleting(numbers: Sequence[int]) -> AsyncIterator[NotificationsClient]:
    """Serve for as long as the context lasts, and call."""
    server = grpc.aio.server()
    pb_grpc.add_NotificationServiceServicer_to_server(Service(numbers), server)  # type: ignore[abstract]
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with NotificationsClient(ServerSettings(), address) as client:
            yield client
    finally:
        await server.stop(None)


async def test_a_deletion_goes_on_until_it_is_complete() -> None:
    """Who has more notifications than one call deletes loses all of them."""
    async with deleting([2_000, 2_000, 7]) as client:
        assert await client.delete_user_notifications("user", "id") == 4_007


async def test_what_is_left_after_several_calls_is_for_the_next_attempt() -> None:
    """The entry stays in the outbox, and no other relay has taken it meanwhile."""
    async with deleting([1] * (MOST_CALLS + 1)) as client:
        with pytest.raises(NotificationsLeft):
            await client.delete_user_notifications("user", "id")
        assert await client.delete_user_notifications("user", "id") == 1


def test_all_calls_of_an_attempt_fit_into_its_lease() -> None:
    """Otherwise two relays would make them at a time."""
    assert LEASE.total_seconds() > MOST_CALLS * DELETE_SECONDS
