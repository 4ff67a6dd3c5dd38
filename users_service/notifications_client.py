"""The client of the notifications service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import grpc
from vibework.notifications.v1.delivery_pb2 import SUPPRESSION_REASON_BOUNCE
from vibework.notifications.v1.delivery_service_pb2 import DeleteSuppressionRequest, SendDirectRequest
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2 import DeleteUserNotificationsRequest
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from chassis.context.calls import REQUEST_ID_KEY
from chassis.contract.timestamps import to_proto
from chassis.peers.clients import open_peer_channel
from chassis.settings import ServerSettings

DELETE_SECONDS: Final = 10.0
SEND_SECONDS: Final = 10.0
LIFT_SECONDS: Final = 10.0
# Calls made for one user who has more notifications than are deleted in one; the rest is for the next attempt. Together
# they take less than the lease of an outbox entry.
MOST_CALLS: Final = 4


class NotificationsLeft(Exception):
    """More notifications are left of a user than several calls deleted."""


class RecipientUnknown(Exception):
    """The user whom a mail is to is not known: gone, or so new that whom the other service asked had not heard."""


class NotificationsClient:
    """A channel to the notifications service; open it as a context, inside the loop that uses it."""

    def __init__(
        self, settings: ServerSettings, address: str, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
    ) -> None:
        """``interceptors``: around every call."""
        self._channel = open_peer_channel(settings, address, interceptors=interceptors)
        self._stub = NotificationServiceStub(self._channel)
        self._deliveries = DeliveryServiceStub(self._channel)

    async def delete_user_notifications(self, user_id: str, request_id: str) -> int:
        """Delete all notifications of a user and return how many there were; may be repeated.

        Raises grpc.aio.AioRpcError, also where there is no answer within 10 s; NotificationsLeft where ``MOST_CALLS``
        have not deleted all of them.
        """
        deleted = 0
        for _ in range(MOST_CALLS):
            response = await self._stub.DeleteUserNotifications(
                DeleteUserNotificationsRequest(user_id=user_id),
                timeout=DELETE_SECONDS,
                metadata=((REQUEST_ID_KEY, request_id),),
            )
            deleted += response.deleted_count
            if not response.incomplete:
                return deleted
        raise NotificationsLeft

    async def send_direct(self, request: SendDirectRequest) -> None:
        """Have a mail sent; may be repeated, by its ``request_id``.

        Raises RecipientUnknown; grpc.aio.AioRpcError, also where there is no answer within ``SEND_SECONDS``.
        """
        try:
            await self._deliveries.SendDirect(
                request, timeout=SEND_SECONDS, metadata=((REQUEST_ID_KEY, request.request_id),)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise RecipientUnknown from None
            raise

    async def lift_bounce(self, email_address: str, before: datetime, request_id: str) -> None:
        """Have an address taken off the suppression list where it bounced ``before``; may be repeated.

        Raises grpc.aio.AioRpcError, also where there is no answer within ``LIFT_SECONDS``.
        """
        request = DeleteSuppressionRequest(
            email_address=email_address,
            reason=SUPPRESSION_REASON_BOUNCE,
            allow_missing=True,
            created_before=to_proto(before),
        )
        await self._deliveries.DeleteSuppression(
            request, timeout=LIFT_SECONDS, metadata=((REQUEST_ID_KEY, request_id),)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()
