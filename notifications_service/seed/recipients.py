"""Recipients of made-up notifications: users that the users service lists."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_service_pb2, user_service_pb2_grpc

from chassis.peers.clients import Client
from notifications_service.errors import UsersServiceUnavailable

PAGE_SIZE: Final = 100
TIMEOUT_SECONDS: Final = 10.0


class UserList:
    """Lists users over a channel to the users service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._client = Client(timeout=TIMEOUT_SECONDS, unavailable=UsersServiceUnavailable)
        self._stub = user_service_pb2_grpc.UserServiceStub(channel)

    async def ids(self, most: int) -> list[str]:
        """Return the ids of up to so many users, the newest first. Raises UsersServiceUnavailable."""
        found: list[str] = []
        request = user_service_pb2.ListUsersRequest(page_size=PAGE_SIZE, read_mask=FieldMask(paths=["id"]))
        while len(found) < most:
            page = await self._client.call(self._stub.ListUsers, request)
            found += [user.id for user in page.users]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found[:most]


class RandomRecipients:
    """Draws users with a realistic distribution: a few get very many, most get some, and many none."""

    def __init__(self, user_ids: list[str], chance: Random) -> None:
        self._chance = chance
        self._ids = chance.sample(user_ids, len(user_ids))
        # Zipf's law with its peak cut off: the most notified of 1,000 users gets about 3% of all.
        self._weights = list(accumulate(1 / (rank + 5) for rank in range(len(user_ids))))

    def draw(self, number: int) -> list[str]:
        """Return the recipients of this many notifications."""
        return self._chance.choices(self._ids, cum_weights=self._weights, k=number)
