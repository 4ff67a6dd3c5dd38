"""ChangeEmail: a secret that one user asked for gives that user the address, verified; all of it or nothing."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.users import Stubs, UsersServer
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    consume_request,
    new_email,
    new_session,
    new_user,
    outcome,
    secret_of,
    session_is_valid,
    signs_in,
    verification,
    wrong,
)

EMAIL_CHANGE: Final = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
RESET: Final = pb.VERIFICATION_PURPOSE_PASSWORD_RESET
CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
KINDS: Final = [CODE, TOKEN]
NOBODY: Final = "user_01jd0000000000000000000000"


async def ask(users: Stubs, user_id: str, email: str, kind: Any = TOKEN) -> pb.CreateVerificationResponse:
    """Have a secret made for a user's change to an address."""
    return await verification(users, EMAIL_CHANGE, email, kind, user_id=user_id)


def change_request(secret: pb.VerificationSecret, user_id: str) -> pb.ChangeEmailRequest:
    """Make a request to change to the address of a secret."""
    return pb.ChangeEmailRequest(secret=secret, user_id=user_id)


async def change(users: Stubs, secret: pb.VerificationSecret, user_id: str) -> str:
    """Change, and return how that ends."""
    return await outcome(users.verifications.ChangeEmail(change_request(secret, user_id)))


async def read(users: Stubs, user_id: str) -> user_pb2.User:
    """Read a user."""
    return (await users.users.GetUser(users_pb.GetUserRequest(id=user_id))).user


@pytest.mark.parametrize("kind", KINDS)
async def test_the_user_has_the_address_verified(users: Stubs, users_server: UsersServer, kind: Any) -> None:
    """The answer is what GetUser says afterwards: the new address, verified, another etag; sign-in goes by it."""
    for verified in (False, True):
        user, email = await new_user(users, password=PASSWORD, email_verified=verified), new_email()
        session = await new_session(users, user.id)
        created = await ask(users, user.id, email.upper(), kind)
        stored = "SELECT user_id FROM verifications WHERE id = %s"
        assert users_server.rows(stored, created.verification.id) == [(user.id,)]
        done = await users.verifications.ChangeEmail(change_request(secret_of(created), user.id))
        assert done.user == await read(users, user.id)
        assert (done.user.email, done.user.email_verified) == (email, True)
        assert done.user.etag != user.etag
        assert await signs_in(users, email, PASSWORD) == "OK"
        assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
        assert await session_is_valid(users, session)
        assert await change(users, secret_of(created), user.id) == "VERIFICATION_INVALID"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_secret_is_its_users_alone(users: Stubs, kind: Any) -> None:
    """Made for another user, for nobody in particular, or tried for an id that is none: not valid, and not consumed."""
    user, other, email = await new_user(users), await new_user(users), new_email()
    created = await ask(users, user.id, email, kind)
    of_nobody = await verification(users, EMAIL_CHANGE, email, kind)
    # Ids are compared whole.
    for user_id in (other.id, NOBODY, user.id.upper(), f"{user.id} "):
        assert await change(users, secret_of(created), user_id) == "VERIFICATION_INVALID"
    for user_id in (user.id, other.id):
        assert await change(users, secret_of(of_nobody), user_id) == "VERIFICATION_INVALID"
    consume = users.verifications.ConsumeVerification
    assert await outcome(consume(consume_request(EMAIL_CHANGE, secret_of(created)))) == "VERIFICATION_INVALID"
    assert await outcome(consume(consume_request(EMAIL_CHANGE, secret_of(of_nobody)))) == "OK"
    assert await change(users, secret_of(created), user.id) == "OK"
    assert (await read(users, other.id)).email == other.email


async def test_secrets_of_two_users_for_one_address_live_beside_each_other(users: Stubs) -> None:
    """Neither who asks later nor wrong tries of the other touch what somebody was sent."""
    user, other, email = await new_user(users), await new_user(users), new_email()
    first = await ask(users, user.id, email, CODE)
    second = await ask(users, other.id, email, CODE)
    for _ in range(5):
        assert await change(users, wrong(second), other.id) == "VERIFICATION_INVALID"
    assert await change(users, secret_of(second), other.id) == "VERIFICATION_ATTEMPTS_EXCEEDED"
    assert await change(users, secret_of(first), user.id) == "OK"


async def test_a_taken_address_leaves_the_secret_good(users: Stubs) -> None:
    """EMAIL_TAKEN changes and consumes nothing; once the other one has left the address, the same secret works."""
    user, holder = await new_user(users, password=PASSWORD), await new_user(users)
    created = await ask(users, user.id, holder.email)
    for _ in range(2):
        assert await change(users, secret_of(created), user.id) == "EMAIL_TAKEN"
    assert await read(users, user.id) == user
    await users.users.DeleteUser(users_pb.DeleteUserRequest(id=holder.id))
    assert await change(users, secret_of(created), user.id) == "OK"
    assert (await read(users, user.id)).email == holder.email


async def test_nobody_else_is_told_that_an_address_is_taken(users: Stubs) -> None:
    """Who cannot show the secret hears nothing of who has the address."""
    user, holder = await new_user(users), await new_user(users)
    created = await ask(users, user.id, holder.email)
    assert await change(users, wrong(created), user.id) == "VERIFICATION_INVALID"
    free = await ask(users, user.id, new_email())
    assert await change(users, wrong(free), user.id) == "VERIFICATION_INVALID"


async def test_an_unknown_user_asks_for_nothing(users: Stubs, users_server: UsersServer) -> None:
    """CreateVerification for a user who is not there: USER_NOT_FOUND, whatever the spelling, and no row."""
    user, email = await new_user(users), new_email()
    for user_id in (NOBODY, f"{user.id} ", user.id.upper()):
        assert await outcome(ask(users, user_id, email)) == "USER_NOT_FOUND"
    assert users_server.rows("SELECT id FROM verifications WHERE identifier = %s", email) == []


async def test_a_user_is_named_for_a_change_of_address_only(users: Stubs) -> None:
    """With another purpose a `user_id` is refused, before anything is made."""
    user = await new_user(users)
    asked = verification(users, RESET, user.email, TOKEN, user_id=user.id)
    assert await outcome(asked) == "INVALID_FIELDS"


async def test_ones_own_address_is_proved_and_kept_as_it_is_spelled(users: Stubs) -> None:
    """It is no change: verified from now on, the same spelling, and what is outstanding stays good."""
    email = new_email()
    user = await new_user(users, email=email.upper())
    reset = await verification(users, RESET, email, TOKEN)
    created = await ask(users, user.id, email)
    done = (await users.verifications.ChangeEmail(change_request(secret_of(created), user.id))).user
    assert (done.email, done.email_verified) == (email.upper(), True)
    request = pb.ResetPasswordRequest(secret=secret_of(reset), new_password=PASSWORD)
    assert await outcome(users.verifications.ResetPassword(request)) == "OK"


async def test_a_repeat_of_the_request_asks_for_the_same_user(users: Stubs) -> None:
    """The user is part of the body that a `request_id` is compared by."""
    user, other, email = await new_user(users), await new_user(users), new_email()
    request_id = "5f6a3a0e-6c86-4d3b-9f0b-0c0f5b1b6a11"
    first = await verification(users, EMAIL_CHANGE, email, TOKEN, user_id=user.id, request_id=request_id)
    again = await verification(users, EMAIL_CHANGE, email, TOKEN, user_id=user.id, request_id=request_id)
    assert again == first
    stolen = verification(users, EMAIL_CHANGE, email, TOKEN, user_id=other.id, request_id=request_id)
    assert await outcome(stolen) == "REQUEST_ID_REUSED"


async def test_a_change_is_recorded(users: Stubs, users_server: UsersServer) -> None:
    """One event, with the revision that the answer's etag tells, in the transaction of the change."""
    user = await new_user(users)
    created = await ask(users, user.id, new_email())
    done = (await users.verifications.ChangeEmail(change_request(secret_of(created), user.id))).user
    recorded = users_server.rows("SELECT kind, revision FROM user_events WHERE user_id = %s ORDER BY id", user.id)
    assert recorded[1:] == [("changed", int(done.etag.strip('"')))]
    taken = await new_user(users)
    failing = await ask(users, user.id, taken.email)
    assert await change(users, secret_of(failing), user.id) == "EMAIL_TAKEN"
    assert len(users_server.rows("SELECT id FROM user_events WHERE user_id = %s", user.id)) == 2


async def test_the_next_change_of_an_address_is_no_door_of_the_one_before(users: Stubs) -> None:
    """What was made for the user while it had the old address, to any other one, is void after the change."""
    user = await new_user(users)
    emails = [new_email() for _ in range(3)]
    made = [await ask(users, user.id, email) for email in emails]
    assert await change(users, secret_of(made[0]), user.id) == "OK"
    for created in made[1:]:
        assert await change(users, secret_of(created), user.id) == "VERIFICATION_INVALID"
    mask = FieldMask(paths=["email"])
    back = users_pb.UpdateUserRequest(user=user_pb2.User(id=user.id, email=user.email), update_mask=mask)
    await users.users.UpdateUser(back)
    for created in made:
        assert await change(users, secret_of(created), user.id) == "VERIFICATION_INVALID"
