"""ExportedRecords that the notifications service keeps of a user, read by its own RPCs, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1.delivery_pb2 import DeliveryFilter
from vibework.notifications.v1.delivery_service_pb2 import (
    ListDeliveriesRequest,
    ListSuppressionsRequest,
    SuppressionFilter,
)
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2 import (
    ListNotificationsRequest,
    ListScheduledNotificationsRequest,
)
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.notifications.v1.preference_service_pb2 import GetPreferencesRequest, ListPushSubscriptionsRequest
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub
from vibework.users.v1.user_service_pb2 import ExportUserResponse

from chassis.logs import logging
from chassis.peers.clients import Client
from users_service.errors import NotificationsServiceUnavailable

PAGE: Final = 100
# Seconds at most for one call.
READ_SECONDS: Final = 10.0
# All fields, those of mails and push messages included.
EVERYTHING: Final = FieldMask(paths=["*"])
_PACKAGE: Final = "vibework.notifications.v1"
# What gRPC may send again by itself: all of it only reads.
READS: Final = tuple(
    f"{_PACKAGE}.{name}"
    for name in (
        "NotificationService/ListNotifications",
        "NotificationService/ListScheduledNotifications",
        "DeliveryService/ListDeliveries",
        "DeliveryService/ListSuppressions",
        "PreferenceService/GetPreferences",
        "PreferenceService/ListPushSubscriptions",
    )
)

log = logging.get(__name__)


class NotificationRecords:
    """Reads records over a channel, each call within a deadline and behind a circuit breaker."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._client = Client(timeout=READ_SECONDS, unavailable=NotificationsServiceUnavailable)
        self._notifications = NotificationServiceStub(channel)
        self._deliveries = DeliveryServiceStub(channel)
        self._preferences = PreferenceServiceStub(channel)

    async def of_user(self, user_id: str, email: str) -> AsyncIterator[ExportUserResponse]:
        """Yield what is kept of a user, and the suppressions of the address. Raises NotificationsServiceUnavailable."""
        async for part in self._of_preferences(user_id):
            yield part
        async for part in self._of_notifications(user_id):
            yield part
        deliveries = ListDeliveriesRequest(page_size=PAGE, filter=DeliveryFilter(user_id=user_id))
        async for delivery in self._pages(self._deliveries.ListDeliveries, deliveries, "deliveries"):
            yield ExportUserResponse(delivery=delivery)
        suppressions = ListSuppressionsRequest(page_size=PAGE, filter=SuppressionFilter(email_address=email))
        async for suppression in self._pages(self._deliveries.ListSuppressions, suppressions, "suppressions"):
            yield ExportUserResponse(suppression=suppression)

    async def _of_preferences(self, user_id: str) -> AsyncIterator[ExportUserResponse]:
        answer = await self._call(self._preferences.GetPreferences, GetPreferencesRequest(user_id=user_id))
        if answer.preferences.HasField("updated_at"):
            # Of whoever has never said anything, nothing is kept.
            yield ExportUserResponse(preferences=answer.preferences)
        subscriptions = ListPushSubscriptionsRequest(user_id=user_id, page_size=PAGE)
        async for each in self._pages(self._preferences.ListPushSubscriptions, subscriptions, "subscriptions"):
            yield ExportUserResponse(push_subscription=each)

    async def _of_notifications(self, user_id: str) -> AsyncIterator[ExportUserResponse]:
        """Yield what is scheduled first: what becomes visible meanwhile is then seen twice and not missed."""
        scheduled = ListScheduledNotificationsRequest(user_id=user_id, page_size=PAGE, read_mask=EVERYTHING)
        seen = set[str]()
        async for each in self._pages(self._notifications.ListScheduledNotifications, scheduled, "notifications"):
            seen.add(each.id)
            yield ExportUserResponse(notification=each)
        feed = ListNotificationsRequest(user_id=user_id, page_size=PAGE, read_mask=EVERYTHING)
        async for each in self._pages(self._notifications.ListNotifications, feed, "notifications"):
            if each.id not in seen:
                yield ExportUserResponse(notification=each)

    async def _pages(self, method: Callable[..., Awaitable[Any]], request: Any, field: str) -> AsyncIterator[Any]:
        while True:
            page = await self._call(method, request)
            for each in getattr(page, field):
                yield each
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _call(self, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        try:
            return await self._client.call(method, request)
        except grpc.aio.AioRpcError as error:
            # An unexpected status means the same to our caller as no answer: the export would not be whole.
            log.warning("notifications service refused", code=error.code().name)
            raise NotificationsServiceUnavailable from None
