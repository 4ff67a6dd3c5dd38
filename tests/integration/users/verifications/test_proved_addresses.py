"""An address that is proved anew: the notifications service hears of it, and forgets a bounce of before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1.delivery_pb2 import SUPPRESSION_REASON_BOUNCE
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.contract.timestamps import from_proto
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.sides import EMAIL, Sides, both_sides
from tests.harness.users import reason

KIND = "lift_bounce"
VERIFY, RESET = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION, pb.VERIFICATION_PURPOSE_PASSWORD_RESET


@pytest.fixture
def sides(mysql_database: MySQLDatabase) -> Iterator[Sides]:
    """Both sides, and a user."""
    with both_sides(mysql_database) as served:
        served.stubs.users.CreateUser(users_pb.CreateUserRequest(email="Ann@Example.com"))
        yield served


def secret_of(sides: Sides, purpose: pb.VerificationPurpose.ValueType, **fields: str) -> pb.VerificationSecret:
    """Have a code made for the address."""
    code = sides.create(purpose=purpose, delivery=pb.VERIFICATION_DELIVERY_RETURN_CODE, **fields).secret
    return pb.VerificationSecret(code=pb.VerificationSecret.CodeSecret(identifier=EMAIL, code=code))


def verify(sides: Sides) -> None:
    """Verify the address."""
    sides.stubs.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret_of(sides, VERIFY)))


def reset(sides: Sides) -> None:
    """Reset the password, by a code that came to the address."""
    request = pb.ResetPasswordRequest(secret=secret_of(sides, RESET), new_password="correct horse battery")
    sides.stubs.verifications.ResetPassword(request)


def change(sides: Sides) -> None:
    """Change to the address, by a code that came there."""
    user = sides.stubs.users.GetUser(users_pb.GetUserRequest(email=EMAIL)).user
    request = users_pb.UpdateUserRequest(
        user=user_pb2.User(id=user.id, email="old@example.com"), update_mask=FieldMask(paths=["email"])
    )
    sides.stubs.users.UpdateUser(request)
    secret = secret_of(sides, pb.VERIFICATION_PURPOSE_EMAIL_CHANGE, user_id=user.id)
    sides.stubs.verifications.ChangeEmail(pb.ChangeEmailRequest(secret=secret, user_id=user.id))


def sign_in(sides: Sides) -> None:
    """Sign in by a code that came to the address."""
    secret = secret_of(sides, pb.VERIFICATION_PURPOSE_SIGN_IN)
    sides.stubs.verifications.SignInWithVerification(pb.SignInWithVerificationRequest(secret=secret))


@pytest.mark.parametrize("way", [verify, reset, change, sign_in])
def test_what_proves_an_address_lifts_its_bounce(sides: Sides, way: Callable[[Sides], None]) -> None:
    """One call, for the bounce alone, of before the proof; no complaint is lifted, and a missing row is no error."""
    before = sides.clock()
    way(sides)
    sides.handed_over(KIND)
    (lifted,) = sides.deliveries.lifted
    assert (lifted.email_address.lower(), lifted.reason) == (EMAIL, SUPPRESSION_REASON_BOUNCE)
    assert lifted.allow_missing
    assert before <= from_proto(lifted.created_before) <= sides.clock()


def test_one_that_was_verified_before_is_proved_anew(sides: Sides) -> None:
    """The address bounced although it was verified: who verifies it again gets mail again."""
    for times in (1, 2):
        verify(sides)
        sides.handed_over(KIND)
        assert len(sides.deliveries.lifted) == times


def test_a_wrong_secret_proves_nothing(sides: Sides) -> None:
    """Whoever guesses lifts no suppression; nothing is left in the outbox, as the row says."""
    secret_of(sides, VERIFY)
    wrong = pb.VerificationSecret(code=pb.VerificationSecret.CodeSecret(identifier=EMAIL, code="000000"))
    with pytest.raises(grpc.RpcError) as caught:
        sides.stubs.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=wrong))
    assert reason(caught.value) == "VERIFICATION_INVALID"
    assert sides.left(KIND) == 0
    assert not sides.deliveries.lifted


def test_the_other_side_hears_of_it_when_it_is_back(sides: Sides) -> None:
    """The same call is made until it is answered, with the time of the proof, so later bounces stay."""
    sides.deliveries.answer = grpc.StatusCode.UNAVAILABLE
    verify(sides)
    wait_for(lambda: len(sides.deliveries.lifted) == 1, "the first try")
    sides.deliveries.answer = grpc.StatusCode.OK
    sides.clock.advance(timedelta(minutes=1))
    sides.handed_over(KIND)
    first, second = sides.deliveries.lifted
    assert first == second


def test_without_the_other_side_nothing_is_left(mysql_database: MySQLDatabase) -> None:
    """With `NOTIFICATIONS_ADDRESS=off` there is no suppression list to be told, and the outbox does not grow."""
    with both_sides(mysql_database, notifications_address="off") as sides:
        sides.stubs.users.CreateUser(users_pb.CreateUserRequest(email=EMAIL))
        verify(sides)
        assert sides.left(KIND) == 0
