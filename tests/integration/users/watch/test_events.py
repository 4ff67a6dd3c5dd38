"""What WatchUsers tells: each change once, in order, with the state after it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.users import Stubs, UsersServer
from tests.harness.watching_users import told_of, watching_users
from tests.integration.users.ways_to_sign_in import PASSWORD, new_user, outcome


async def renamed(users: Stubs, user_id: str, name: str) -> user_pb2.User:
    """Change a user."""
    request = pb.UpdateUserRequest(user=user_pb2.User(id=user_id, name=name), update_mask=FieldMask(paths=["name"]))
    return (await users.users.UpdateUser(request)).user


async def test_each_change_is_told_once_with_the_etag_after_it(users: Stubs) -> None:
    """Creation, change, password, deletion; the etag is that which the caller of the change was answered."""
    async with watching_users(users.users) as watch:
        made = await new_user(users)
        changed = await renamed(users, made.id, "Ann")
        await users.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=made.id, password=PASSWORD))
        await users.users.DeleteUser(pb.DeleteUserRequest(id=made.id))
        assert await watch.told(4) == [
            ("created", made.id, made.etag),
            ("changed", made.id, changed.etag),
            ("password_changed", made.id, changed.etag),
            ("deleted", made.id, ""),
        ]
        assert watch.events[0].user_event.occurred_at == made.created_at
        assert watch.events[1].user_event.occurred_at == changed.updated_at


async def test_what_was_committed_before_is_not_told(users: Stubs) -> None:
    """A watch without a token begins now: neither earlier users nor those of the moment before."""
    for _ in range(5):
        await new_user(users)
        async with watching_users(users.users) as watch:
            made = await new_user(users)
            assert await watch.told(1) == [("created", made.id, made.etag)]


async def test_kinds_choose_what_is_told(users: Stubs) -> None:
    """Others are passed over, and the token of a heartbeat leads on behind them."""
    kinds = [pb.USER_EVENT_KIND_DELETED, pb.USER_EVENT_KIND_CHANGED]
    async with watching_users(users.users, kinds=kinds, heartbeat_interval=Duration(seconds=1)) as watch:
        made = await new_user(users)
        changed = await renamed(users, made.id, "Ann")
        assert await watch.told(1) == [("changed", made.id, changed.etag)]
        token = watch.token
        for _ in range(3):
            await new_user(users)
        while watch.token == token or (await watch.next()).resume_token == token:
            await watch.next()
        later = watch.token
    async with watching_users(users.users, resume_token=token) as again:
        assert [kind for kind, *_ in await again.told(3)] == ["created"] * 3
    async with watching_users(users.users, resume_token=later) as again:
        last = await new_user(users)
        # The heartbeat may have come before the last of the three.
        assert (await again.until(last.id))[-1] == ("created", last.id, last.etag)


async def test_a_heartbeat_comes_first_and_while_nothing_happens(users: Stubs) -> None:
    """Each with a token, at the interval asked for."""
    async with watching_users(users.users, greeted=False, heartbeat_interval=Duration(seconds=1)) as watch:
        for _ in range(3):
            event = await watch.next()
            assert event.HasField("heartbeat")


@pytest.mark.parametrize(
    "request_",
    [
        pb.WatchUsersRequest(kinds=[pb.USER_EVENT_KIND_UNSPECIFIED]),
        pb.WatchUsersRequest(kinds=[99]),  # type: ignore[list-item]
        pb.WatchUsersRequest(kinds=[pb.USER_EVENT_KIND_CREATED] * 2),
        pb.WatchUsersRequest(heartbeat_interval=Duration(nanos=1)),
        pb.WatchUsersRequest(heartbeat_interval=Duration(seconds=301)),
    ],
)
async def test_bad_input_is_refused_by_field(users: Stubs, request_: pb.WatchUsersRequest) -> None:
    """Kinds that are none, or twice; intervals out of range."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await users.users.WatchUsers(request_).read()
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await outcome(users.users.WatchUsers(request_).read()) == "INVALID_FIELDS"


async def test_an_event_of_a_later_version_ends_no_watch(users: Stubs, users_server: UsersServer) -> None:
    """A process of the version before passes over a kind that it has no word for, and goes on."""
    async with watching_users(users.users) as watch:
        token = watch.token
        users_server.rows("INSERT INTO user_events (user_id, kind) VALUES ('user_later', 'merged')")
        made = await new_user(users)
        assert await watch.told(1) == [("created", made.id, made.etag)]
    async with watching_users(users.users, resume_token=token) as again:
        assert await again.told(1) == [("created", made.id, made.etag)]


async def test_all_watchers_are_told_the_same(many: list[Stubs]) -> None:
    """In the same order, with the same tokens, on whatever connection."""
    async with watching_users(many[0].users) as one, watching_users(many[1].users) as other:
        await asyncio.gather(*(new_user(many[number % 4]) for number in range(40)))
        assert await one.told(40) == await other.told(40)
        assert len({event.resume_token for event in one.events}) == 40
        assert [told_of(event) for event in one.events] == [told_of(event) for event in other.events]
        assert [event.resume_token for event in one.events] == [event.resume_token for event in other.events]
