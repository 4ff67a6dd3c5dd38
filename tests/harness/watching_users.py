"""Reading WatchUsers in a test: event by event, each with a time limit, remembering the last resume token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import Stubs, reason

# Kind, user, etag.
Told = tuple[str, str, str]


def told_of(event: pb.WatchUsersResponse) -> Told:
    """Return the kind in small letters, the user and the etag of an event."""
    what = event.user_event
    kind = pb.UserEventKind.Name(what.kind).removeprefix("USER_EVENT_KIND_").lower()
    return kind, what.user_id, what.etag


class WatchingUsers:
    """An open watch."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.token = ""
        # All events but heartbeats, and the token of each.
        self.events: list[pb.WatchUsersResponse] = []

    async def next(self) -> pb.WatchUsersResponse:
        """Return the next event, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            response: Any = await self._call.read()
        assert response is not grpc.aio.EOF, "the watch ended without an error"
        event: pb.WatchUsersResponse = response
        assert event.resume_token
        self.token = event.resume_token
        return event

    async def event(self) -> pb.WatchUsersResponse:
        """Return the next event that is no heartbeat."""
        while not (event := await self.next()).HasField("user_event"):
            pass
        self.events.append(event)
        return event

    async def told(self, count: int) -> list[Told]:
        """Return the next events that are no heartbeats."""
        return [told_of(await self.event()) for _ in range(count)]

    async def until(self, user_id: str) -> list[Told]:
        """Return the events up to the first about a user, which is the last of them."""
        found = await self.told(1)
        while found[-1][1] != user_id:
            found += await self.told(1)
        return found

    async def failure(self) -> tuple[grpc.StatusCode, str]:
        """Read to the end and return its code and reason."""
        try:
            while True:
                event = await self.next()
                if event.HasField("user_event"):
                    self.events.append(event)
        except grpc.aio.AioRpcError as error:
            return error.code(), reason(error)


@asynccontextmanager
async def watching_users(users: Any, *, greeted: bool = True, **start: Any) -> AsyncIterator[WatchingUsers]:
    """Watch for as long as the context lasts; ``users``: the stub; ``start``: fields of the request.

    ``greeted``: wait for the first event, which says that the watch is in place.
    """
    call = users.WatchUsers(pb.WatchUsersRequest(**start))
    try:
        watch = WatchingUsers(call)
        if greeted:
            assert (await watch.next()).HasField("heartbeat")
        yield watch
    finally:
        call.cancel()


async def make_user(stubs: Stubs, email: str) -> user_pb2.User:
    """Create a user without a password."""
    return (await stubs.users.CreateUser(pb.CreateUserRequest(email=email))).user
