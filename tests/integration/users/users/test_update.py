"""UpdateUser over the wire: what the mask names and nothing else, and only in the state that the caller saw."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from tests.harness.users import Stubs, metadata, reason, violations


def address() -> str:
    """Return an address that nobody has."""
    return f"{uuid.uuid4().hex}@example.com"


@pytest_asyncio.fixture
async def user(users: Stubs) -> User:
    """A verified user with everything set."""
    request = pb.CreateUserRequest(
        email=address(), name="Ann", image="https://example.com/a.png", email_verified=True, password="correct horse"
    )
    return (await users.users.CreateUser(request)).user


async def update(users: Stubs, id_: str, paths: list[str], **fields: Any) -> User:
    """Update a user."""
    request = pb.UpdateUserRequest(user=User(id=id_, **fields), update_mask=FieldMask(paths=paths))
    return (await users.users.UpdateUser(request)).user


async def test_only_the_fields_in_the_mask_change(users: Stubs, user: User) -> None:
    """Values without a path are ignored; the etag and the time of change move on."""
    changed = await update(users, user.id, ["name"], name="Bea", image="https://example.com/b.png", email=address())
    assert (changed.name, changed.image, changed.email) == ("Bea", user.image, user.email)
    assert changed.etag != user.etag
    assert changed.updated_at.ToDatetime() > user.updated_at.ToDatetime()
    assert changed.created_at == user.created_at
    assert (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == changed


async def test_a_field_is_emptied_by_name_only(users: Stubs, user: User) -> None:
    """An empty value counts when the mask names it."""
    changed = await update(users, user.id, ["name", "image"])
    assert (changed.name, changed.image) == ("", "")


async def test_a_star_changes_all_four(users: Stubs, user: User) -> None:
    """AIP-134: `*` replaces everything that may be changed."""
    email = address()
    changed = await update(users, user.id, ["*"], email=email)
    assert (changed.email, changed.name, changed.image, changed.email_verified) == (email, "", "", False)


async def test_a_new_email_is_unverified(users: Stubs, user: User) -> None:
    """Proof of the old address is no proof of the new one, and the user is found under the new one at once."""
    email = address()
    changed = await update(users, user.id, ["email"], email=email)
    assert (changed.email, changed.email_verified) == (email, False)
    assert (await users.users.GetUser(pb.GetUserRequest(email=email))).user == changed
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.GetUser(pb.GetUserRequest(email=user.email))
    assert reason(caught.value) == "USER_NOT_FOUND"


async def test_a_new_email_may_be_verified_by_the_caller(users: Stubs, user: User) -> None:
    """With `email_verified` in the mask, the caller says what holds."""
    email = address()
    assert (await update(users, user.id, ["email", "email_verified"], email=email, email_verified=True)).email_verified


async def test_the_same_email_in_capitals_stays_verified(users: Stubs, user: User) -> None:
    """The normalised address did not change, so neither did what was proved."""
    changed = await update(users, user.id, ["email"], email=user.email.upper())
    assert (changed.email, changed.email_verified) == (user.email.upper(), True)


async def test_a_taken_email_is_refused_and_nothing_changes(users: Stubs, user: User) -> None:
    """Uniqueness holds for changes as for creations."""
    other = (await users.users.CreateUser(pb.CreateUserRequest(email=address()))).user
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update(users, user.id, ["email", "name"], email=other.email.upper(), name="Bea")
    assert reason(caught.value) == "EMAIL_TAKEN"
    assert (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == user


async def test_one_of_many_gets_an_address(users: Stubs) -> None:
    """Sixteen users who move to one address at once: one does, the others are told that it is taken."""
    email = address()
    made = [(await users.users.CreateUser(pb.CreateUserRequest(email=address()))).user for _ in range(16)]
    told = await asyncio.gather(
        *(update(users, user.id, ["email"], email=email) for user in made), return_exceptions=True
    )
    errors = [each for each in told if isinstance(each, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["EMAIL_TAKEN"] * 15


@pytest.mark.parametrize("etag", ['"0"', '"2"', "1", '"99999999999999999999"', '"-1"', '"\u0661"', "x"])
async def test_an_etag_of_another_state_changes_nothing(users: Stubs, user: User, etag: str) -> None:
    """AIP-154: outdated and made-up etags alike answer ABORTED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update(users, user.id, ["name"], name="Bea", etag=etag)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert (reason(caught.value), metadata(caught.value)) == ("ETAG_MISMATCH", {"current_etag": user.etag})
    assert (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == user


async def test_of_many_with_one_etag_one_succeeds(users: Stubs, user: User) -> None:
    """Who read the same state and writes at once is told so, but for one: no change is lost unseen."""
    told = await asyncio.gather(
        *(update(users, user.id, ["name"], name=str(n), etag=user.etag) for n in range(16)), return_exceptions=True
    )
    (winner,) = (each for each in told if isinstance(each, User))
    errors = [each for each in told if isinstance(each, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["ETAG_MISMATCH"] * 15
    assert {metadata(error)["current_etag"] for error in errors} == {winner.etag}
    assert (await users.users.GetUser(pb.GetUserRequest(id=user.id))).user == winner


async def test_an_unknown_user_is_not_found_with_any_etag(users: Stubs) -> None:
    """Missing comes before outdated."""
    for etag in ("", '"1"'):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await update(users, "user_none", ["name"], name="Bea", etag=etag)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert reason(caught.value) == "USER_NOT_FOUND"


@pytest.mark.parametrize("path", ["id", "created_at", "etag", "password", "email.x"])
async def test_a_mask_names_changeable_fields_only(users: Stubs, user: User, path: str) -> None:
    """What the server alone sets cannot be named."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update(users, user.id, ["name", path], name="Bea")
    assert reason(caught.value) == "FIELD_MASK_INVALID"


async def test_an_empty_mask_or_email_is_refused(users: Stubs, user: User) -> None:
    """A change of nothing, and a user without an address, are mistakes."""
    for paths, field in ((list[str](), "update_mask"), (["email"], "user.email")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await update(users, user.id, paths, name="Bea")
        assert violations(caught.value) == [field]
