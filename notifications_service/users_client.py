"""The client of the users service, which is asked which ids name no user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_service_pb2, user_service_pb2_grpc

from chassis.logs import logging
from chassis.peers.breaker import CircuitBreaker
from chassis.peers.clients import Client
from notifications_service.errors import UsersServiceUnavailable

# Full name of the method, which gRPC may retry by itself since it only reads.
BATCH_GET_USERS: Final = "vibework.users.v1.UserService/BatchGetUsers"
# Ids that one call may name.
MAX_IDS: Final = 1_000


class UsersClient:
    """Asks the users service over a channel, within a deadline and behind a circuit breaker."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self._client = Client(timeout=timeout, unavailable=UsersServiceUnavailable)
        self._stub = user_service_pb2_grpc.UserServiceStub(channel)

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker of these calls."""
        return self._client.breaker

    async def missing(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of up to 1,000 ids that name no user. Raises UsersServiceUnavailable."""
        request = user_service_pb2.BatchGetUsersRequest(ids=user_ids, read_mask=FieldMask(paths=["id"]))
        try:
            response = await self._client.call(self._stub.BatchGetUsers, request)
        except grpc.aio.AioRpcError as error:
            # An unexpected status means the same to our callers as no answer.
            logging.get(__name__).warning("users service refused", code=error.code().name)
            raise UsersServiceUnavailable from None
        return set(response.missing_ids)
