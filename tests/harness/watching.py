"""Reading a watch in a test: event by event, each with a time limit, remembering the last resume token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.contract import etags
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import reason


class Watching:
    """An open watch."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.token = ""
        # Ids of what was told, without heartbeats and the ends of snapshots.
        self.told: list[str] = []

    async def event(self) -> pb.WatchNotificationsResponse:
        """Return the next event, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            response: Any = await self._call.read()
        assert response is not grpc.aio.EOF, "the watch ended without an error"
        event: pb.WatchNotificationsResponse = response
        self.token = event.resume_token or self.token
        self._note(event)
        return event

    def _note(self, event: pb.WatchNotificationsResponse) -> None:
        kind = str(event.WhichOneof("event"))
        if kind not in {"heartbeat", "snapshot_end"}:
            self.told.append(getattr(event, kind).id)

    async def change(self) -> tuple[str, str]:
        """Return the next event that is no heartbeat as its kind and the id of its notification."""
        event = await self.content()
        kind = str(event.WhichOneof("event"))
        return kind, str(getattr(event, kind).id)

    async def content(self) -> pb.WatchNotificationsResponse:
        """Return the next event that is no heartbeat."""
        while (event := await self.event()).WhichOneof("event") == "heartbeat":
            pass
        return event

    async def changes(self, count: int) -> list[tuple[str, str]]:
        """Return the next events that are no heartbeats."""
        return [await self.change() for _ in range(count)]

    async def until(self, marker: str) -> list[pb.WatchNotificationsResponse]:
        """Return the events, without heartbeats, up to the creation of the notification with that title."""
        events = []
        while True:
            events.append(await self.content())
            if events[-1].created.title == marker:
                return events

    async def failure(self) -> tuple[grpc.StatusCode, str]:
        """Read to the end and return its code and reason."""
        try:
            while True:
                await self.event()
        except grpc.aio.AioRpcError as error:
            return error.code(), reason(error)


@asynccontextmanager
async def watching(feed: Any, user_id: str, *, greeted: bool = True, **start: Any) -> AsyncIterator[Watching]:
    """Watch for as long as the context lasts; ``start``: further fields of the request.

    ``greeted``: wait for the first event, which says that the watch is in place.
    """
    call = feed.WatchNotifications(pb.WatchNotificationsRequest(user_id=user_id, **start))
    try:
        watch = Watching(call)
        if greeted:
            assert (await watch.event()).WhichOneof("event") == "heartbeat"
        yield watch
    finally:
        call.cancel()


async def create(feed: Any, user_id: str, title: str = "title", **fields: Any) -> notification_pb2.Notification:
    """Create an in-app notification."""
    content = notification_pb2.NotificationContent(
        title=title, message="message", type=notification_pb2.NOTIFICATION_TYPE_IN_APP, **fields
    )
    request = pb.CreateNotificationRequest(user_id=user_id, content=content)
    answer: pb.CreateNotificationResponse = await feed.CreateNotification(request)
    return answer.notification


async def mark(feed: Any, user_id: str, mark: pb.NotificationMark.ValueType, *ids: str) -> int:
    """Mark notifications and return how many changed."""
    request = pb.MarkNotificationsRequest(user_id=user_id, ids=ids, mark=mark)
    return int((await feed.MarkNotifications(request)).changed_count)


def revision(notification: notification_pb2.Notification) -> int:
    """Return how many states the notification has been in; etags begin with it."""
    number, _ = etags.read(notification.etag, 2) or (None, None)
    assert number is not None
    return number
