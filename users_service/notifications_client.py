"""The client of the notifications service."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import grpc
from vibework.notifications.v1.notification_service_pb2 import DeleteUserNotificationsRequest
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from chassis.context.calls import REQUEST_ID_KEY
from chassis.peers.clients import open_peer_channel
from chassis.settings import ServerSettings

DELETE_SECONDS: Final = 10.0


class NotificationsClient:
    """A channel to the notifications service; open it as a context, inside the loop that uses it."""

    def __init__(
        self, settings: ServerSettings, address: str, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
    ) -> None:
        """``interceptors``: around every call."""
        self._channel = open_peer_channel(settings, address, interceptors=interceptors)
        self._stub = NotificationServiceStub(self._channel)

    async def delete_user_notifications(self, user_id: str, request_id: str) -> int:
        """Delete all notifications of a user and return how many there were; may be repeated.

        Raises grpc.aio.AioRpcError, also where there is no answer within 10 s.
        """
        response = await self._stub.DeleteUserNotifications(
            DeleteUserNotificationsRequest(user_id=user_id),
            timeout=DELETE_SECONDS,
            metadata=((REQUEST_ID_KEY, request_id),),
        )
        return response.deleted_count

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()
