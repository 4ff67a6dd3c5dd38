"""The client of the users service, which is asked which ids name no user, and where users are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from chassis.logs import logging
from chassis.peers.breaker import CircuitBreaker
from chassis.peers.clients import Client
from notifications_service.errors import UsersServiceUnavailable

# Full name of the method, which gRPC may retry by itself since it only reads.
BATCH_GET_USERS: Final = "vibework.users.v1.UserService/BatchGetUsers"
# Ids that one call may name.
MAX_IDS: Final = 1_000


_OF_ADDRESSEES: Final = FieldMask(paths=["id", "email", "email_verified", "state"])


@dataclass(frozen=True, slots=True)
class Addressee:
    """A user as delivery needs to know one; no email: the user has no address."""

    id: str
    email: str = field(default="", repr=False)
    is_verified: bool = False
    is_disabled: bool = False


class UsersClient:
    """Asks the users service over a channel, within a deadline and behind a circuit breaker."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self._client = Client(timeout=timeout, unavailable=UsersServiceUnavailable)
        self._stub = user_service_pb2_grpc.UserServiceStub(channel)

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker of these calls."""
        return self._client.breaker

    @property
    def is_away(self) -> bool:
        """Whether it has failed so often of late that it is not asked now."""
        return self.breaker.is_open

    async def missing(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of up to 1,000 ids that name no user. Raises UsersServiceUnavailable."""
        return set((await self._get(user_ids, FieldMask(paths=["id"]))).missing_ids)

    async def addressees(self, user_ids: Sequence[str]) -> dict[str, Addressee | None]:
        """Return those of up to 1,000 users that exist; None: one that cannot be read.

        Raises UsersServiceUnavailable.
        """
        response = await self._get(user_ids, _OF_ADDRESSEES)
        found: dict[str, Addressee | None] = dict.fromkeys(response.unreadable_ids)
        for user in response.users:
            disabled = user.state == user_pb2.USER_STATE_DISABLED
            found[user.id] = Addressee(user.id, user.email, user.email_verified, disabled)
        return found

    async def _get(self, user_ids: Sequence[str], mask: FieldMask) -> user_service_pb2.BatchGetUsersResponse:
        request = user_service_pb2.BatchGetUsersRequest(ids=user_ids, read_mask=mask)
        try:
            return await self._client.call(self._stub.BatchGetUsers, request)
        except grpc.aio.AioRpcError as error:
            # An unexpected status means the same to our callers as no answer.
            logging.get(__name__).warning("users service refused", code=error.code().name)
            raise UsersServiceUnavailable from None
