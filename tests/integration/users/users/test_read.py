"""GetUser and BatchGetUsers over the wire: the right row for every caller, however many ask at once."""

from __future__ import annotations

import asyncio
import random
import uuid

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import Stubs, metadata, reason, violations


async def create(users: Stubs, number: int) -> list[User]:
    """Create users."""
    requests = [pb.CreateUserRequest(email=f"{uuid.uuid4().hex}@example.com", name=str(n)) for n in range(number)]
    return [(await users.users.CreateUser(request)).user for request in requests]


@pytest_asyncio.fixture
async def some(users: Stubs) -> list[User]:
    """Five users."""
    return await create(users, 5)


@pytest.mark.parametrize("request_", [pb.GetUserRequest(id="user_0"), pb.GetUserRequest(email="nobody@example.com")])
async def test_an_unknown_user_is_not_found(users: Stubs, request_: pb.GetUserRequest) -> None:
    """Neither an id nor an address that nobody has finds anybody; the error repeats the id, never the address."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.GetUser(request_)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason(caught.value) == "USER_NOT_FOUND"
    assert metadata(caught.value) == ({"id": request_.id} if request_.id else {})


async def test_an_id_is_compared_to_the_letter(users: Stubs, some: list[User]) -> None:
    """The text of an id is bytes: case, and spaces at its end, make another id."""
    for wrong in (some[0].id.upper(), some[0].id + " "):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.GetUser(pb.GetUserRequest(id=wrong))
        assert reason(caught.value) == "USER_NOT_FOUND"


async def test_a_read_mask_leaves_the_other_fields_out(users: Stubs, some: list[User]) -> None:
    """AIP-157: only the fields named travel."""
    mask = FieldMask(paths=["id", "name"])
    found = (await users.users.GetUser(pb.GetUserRequest(id=some[0].id, read_mask=mask))).user
    assert found == User(id=some[0].id, name=some[0].name)


async def test_a_read_mask_of_unknown_fields_is_refused(users: Stubs, some: list[User]) -> None:
    """A misspelt path would silently return nothing, so it is an error that names it."""
    mask = FieldMask(paths=["id", "password"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.GetUser(pb.GetUserRequest(id=some[0].id, read_mask=mask))
    assert reason(caught.value) == "FIELD_MASK_INVALID"
    assert violations(caught.value) == ["read_mask"]


async def test_a_batch_keeps_the_order_and_names_the_missing(users: Stubs, some: list[User]) -> None:
    """The answer lines up with what was asked: repeated ids are answered again, missing ones named once."""
    a, b, c = (user.id for user in some[:3])
    response = await users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=[c, "user_x", a, c, "user_y", b, "user_x"]))
    assert [user.id for user in response.users] == [c, a, c, b]
    assert list(response.missing_ids) == ["user_x", "user_y"]
    assert response.users[0] == some[2]


async def test_a_batch_of_a_thousand_is_answered_whole(users: Stubs) -> None:
    """The greatest batch is read in several statements, whose edges lose nobody."""
    ids = [user.id for user in await create(users, 300)]
    random.shuffle(ids)
    asked = [id_ for pair in zip(ids, (f"user_missing{n}" for n in range(300)), strict=True) for id_ in pair]
    response = await users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=[*asked, *ids, *ids[:100]]))
    assert [user.id for user in response.users] == [*ids, *ids, *ids[:100]]
    assert len(response.missing_ids) == 300


@pytest.mark.parametrize("number", [0, 1001])
async def test_a_batch_has_a_size(users: Stubs, number: int) -> None:
    """No id, or more than 1,000, is an error that names the field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=[f"user_{n}" for n in range(number)]))
    assert violations(caught.value) == ["ids"]


async def test_concurrent_reads_never_mix_users_up(users: Stubs, some: list[User]) -> None:
    """Reads that become one query each get their own row, also those of addresses and of nobody."""

    async def read(user: User) -> None:
        by_id, by_email = pb.GetUserRequest(id=user.id), pb.GetUserRequest(email=user.email)
        assert (await users.users.GetUser(random.choice([by_id, by_email]))).user == user

    async def miss() -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await users.users.GetUser(pb.GetUserRequest(id=f"user_{random.random()}"))

    calls = [read(random.choice(some)) if n % 10 else miss() for n in range(600)]
    await asyncio.gather(*calls)


@pytest.mark.long
async def test_a_storm_of_cancelled_calls_gives_nobody_anothers_row(users: Stubs) -> None:
    """Calls given up in the middle of a query leave no answer behind that the next caller could get."""
    everybody = await create(users, 50)

    async def read(user: User) -> bool:
        call = users.users.GetUser(pb.GetUserRequest(id=user.id), timeout=PATIENCE_SECONDS)
        if random.random() < 0.6:
            await asyncio.sleep(random.random() * 0.01)
            call.cancel()
        try:
            assert (await call).user == user
        except asyncio.CancelledError:
            return False
        return True

    answered = 0
    for _ in range(10):
        answered += sum(await asyncio.gather(*(read(random.choice(everybody)) for _ in range(200))))
    assert 0 < answered < 2000
    assert all(await asyncio.gather(*(_read(users, user) for user in everybody)))


async def _read(users: Stubs, user: User) -> bool:
    return (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == user
