"""Notices: a user hears of what happens to the account, when the settings ask for it, however the service fares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import user_pb2, user_service_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb

from chassis.contract.timestamps import from_proto
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.sides import EMAIL, HOME, PASSWORD, Sides, both_sides, by
from tests.harness.users import reason
from users_service.outbox.handlers import GONE_AFTER
from users_service.outbox.model import Notice

ALL: Final = ", ".join(Notice)
NEW = "another horse battery"


@contextmanager
def both(database: MySQLDatabase, notices: str = ALL) -> Iterator[Sides]:
    """Serve both sides on a database."""
    with both_sides(database, notices=notices) as sides:
        yield sides


@pytest.fixture
def sides(mysql_database: MySQLDatabase) -> Iterator[Sides]:
    """Both sides, with all notices."""
    with both(mysql_database) as served:
        yield served


def provider_sign_in(sides: Sides, email: str, **client: str) -> None:
    """Sign in with a provider account that is the address's own."""
    account = accounts_pb.ProviderAccount(provider="github", account_id=email)
    request = accounts_pb.SignInWithAccountRequest(account=account, email=email, email_verified=True, client=by(client))
    sides.stubs.accounts.SignInWithAccount(request)


def test_each_way_to_become_a_user_is_greeted_once(sides: Sides) -> None:
    """Sign-up, CreateUser and a first sign-in by a provider: one welcome each, to the user, and of no other kind."""
    sides.sign_up()
    sides.stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email="bob@example.com"))
    provider_sign_in(sides, "eve@example.com")
    assert sides.kinds() == ["welcome"] * 3
    assert all(request.user_id and not request.email_address for request in sides.told())


def change(sides: Sides, user_id: str) -> None:
    """Change the password."""
    request = accounts_pb.ChangePasswordRequest(user_id=user_id, current_password=PASSWORD, new_password=NEW)
    sides.stubs.accounts.ChangePassword(request)


def reset(sides: Sides, user_id: str) -> None:
    """Reset the password."""
    purpose, kind = verifications_pb.VERIFICATION_PURPOSE_PASSWORD_RESET, verifications_pb.VERIFICATION_KIND_TOKEN
    wanted = verifications_pb.CreateVerificationRequest(purpose=purpose, identifier=EMAIL, kind=kind)
    token = sides.stubs.verifications.CreateVerification(wanted).secret
    secret = verifications_pb.VerificationSecret(token=token)
    sides.stubs.verifications.ResetPassword(verifications_pb.ResetPasswordRequest(secret=secret, new_password=NEW))


@pytest.mark.parametrize("way", [change, reset])
def test_a_new_password_is_told(sides: Sides, way: Callable[[Sides, str], None]) -> None:
    """However the password is replaced, its user hears of it; a wrong current password is told to nobody."""
    user_id = sides.sign_up()
    wrong = accounts_pb.ChangePasswordRequest(user_id=user_id, current_password="wrong", new_password=NEW)
    with pytest.raises(grpc.RpcError) as caught:
        sides.stubs.accounts.ChangePassword(wrong)
    assert reason(caught.value) == "CREDENTIALS_INVALID"
    way(sides, user_id)
    assert sides.kinds() == ["password_changed", "welcome"]


def test_the_first_password_is_told(sides: Sides) -> None:
    """Whoever adds a password to somebody's account has opened a way in."""
    user = sides.stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email=EMAIL)).user
    sides.stubs.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=user.id, password=NEW))
    assert sides.kinds() == ["password_changed", "welcome"]


def test_a_new_address_is_told_to_the_old_one(sides: Sides) -> None:
    """Its owner may have lost the account; another spelling of the same address, or another name, is told to nobody."""
    user_id = sides.sign_up()
    for email, name in ((EMAIL.upper(), "Ann"), ("new@example.com", "Ann")):
        user = user_pb2.User(id=user_id, email=email, name=name)
        mask = FieldMask(paths=["email", "name"])
        sides.stubs.users.UpdateUser(user_service_pb2.UpdateUserRequest(user=user, update_mask=mask))
    assert sides.kinds() == ["email_changed", "welcome"]
    (notice,) = (request for request in sides.told() if request.template.purpose == "email_changed")
    assert (notice.email_address, notice.user_id) == (EMAIL.upper(), "")


def test_an_address_that_was_proved_is_told_to_the_old_one(sides: Sides) -> None:
    """ChangeEmail tells the owner of the old address, once; a taken address is told to nobody."""
    user_id = sides.sign_up()
    for email, create in (("taken@example.com", True), ("new@example.com", False)):
        if create:
            sides.stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email=email))
        purpose, kind = verifications_pb.VERIFICATION_PURPOSE_EMAIL_CHANGE, verifications_pb.VERIFICATION_KIND_TOKEN
        wanted = verifications_pb.CreateVerificationRequest(
            purpose=purpose, identifier=email, kind=kind, user_id=user_id
        )
        token = sides.stubs.verifications.CreateVerification(wanted).secret
        secret = verifications_pb.VerificationSecret(token=token)
        request = verifications_pb.ChangeEmailRequest(secret=secret, user_id=user_id)
        if create:
            with pytest.raises(grpc.RpcError) as caught:
                sides.stubs.verifications.ChangeEmail(request)
            assert reason(caught.value) == "EMAIL_TAKEN"
        else:
            sides.stubs.verifications.ChangeEmail(request)
    assert sides.kinds() == ["email_changed", "welcome", "welcome"]
    (notice,) = (request for request in sides.told() if request.template.purpose == "email_changed")
    assert (notice.email_address, notice.user_id) == (EMAIL, "")


def secret_sign_in(sides: Sides, **client: str) -> None:
    """Sign in by a secret, as a new user if need be."""
    purpose, kind = verifications_pb.VERIFICATION_PURPOSE_SIGN_IN, verifications_pb.VERIFICATION_KIND_TOKEN
    wanted = verifications_pb.CreateVerificationRequest(purpose=purpose, identifier=EMAIL, kind=kind)
    token = sides.stubs.verifications.CreateVerification(wanted).secret
    request = verifications_pb.SignInWithVerificationRequest(
        secret=verifications_pb.VerificationSecret(token=token),
        client=by(client),
        new_user=verifications_pb.SignInWithVerificationRequest.NewUser(),
    )
    sides.stubs.verifications.SignInWithVerification(request)


def test_a_sign_in_by_a_secret_is_told_alike(sides: Sides) -> None:
    """A new user is greeted, and later an unknown client is told, as with a password."""
    secret_sign_in(sides)
    secret_sign_in(sides)
    secret_sign_in(sides, ip_address="198.51.100.7", user_agent="Browser/1")
    assert sides.kinds() == ["new_sign_in", "welcome"]


CLIENTS: Final = {
    "the same": (HOME, []),
    "another address of the same network": (HOME | {"ip_address": "203.0.113.200"}, []),
    "the same, mapped into IPv6": (HOME | {"ip_address": "::ffff:203.0.113.9"}, []),
    "another network": (HOME | {"ip_address": "198.51.100.7"}, ["new_sign_in"]),
    "another user agent": (HOME | {"user_agent": "Browser/2"}, ["new_sign_in"]),
    "a caller that names no client": ({"ip_address": "", "user_agent": ""}, []),
}


@pytest.mark.parametrize(("client", "told"), CLIENTS.values(), ids=CLIENTS)
def test_a_sign_in_from_an_unknown_client_is_told(sides: Sides, client: dict[str, str], told: list[str]) -> None:
    """Unknown is another user agent or network than those of the user's sessions; each is told once."""
    sides.sign_up()
    sides.sign_in(**client)
    sides.sign_in(**client)
    assert sides.kinds() == [*told, "welcome"]
    for request in sides.told():
        if request.template.purpose == "new_sign_in":
            assert {**request.template.variables}.items() >= client.items()


def test_after_ninety_days_a_client_is_unknown_again(sides: Sides) -> None:
    """What the user last did there is too long ago to vouch for it."""
    sides.sign_up()
    sides.told()
    sides.clock.advance(timedelta(days=89))
    sides.sign_in()
    sides.clock.advance(timedelta(days=91))
    sides.sign_in()
    assert sides.kinds() == ["new_sign_in", "welcome"]


def test_a_sign_in_by_a_provider_is_told_alike(sides: Sides) -> None:
    """The rule is about clients, whatever the way in."""
    provider_sign_in(sides, EMAIL)
    provider_sign_in(sides, EMAIL, ip_address="2001:db8:1::1", user_agent="Browser/1")
    provider_sign_in(sides, EMAIL, ip_address="2001:db8:1:ffff::1", user_agent="Browser/1")
    assert sides.kinds() == ["new_sign_in", "welcome"]


def test_only_what_the_settings_name_is_told(mysql_database: MySQLDatabase) -> None:
    """By default nobody gets mail; and of several kinds each is switched on by itself."""
    with both(mysql_database, notices="password_changed") as sides:
        user_id = sides.sign_up()
        sides.sign_in(ip_address="198.51.100.7", user_agent="Browser/2")
        change(sides, user_id)
        assert sides.kinds() == ["password_changed"]


def test_a_notice_is_asked_for_alike_each_time_and_for_a_day(sides: Sides) -> None:
    """While the other side is away it is repeated with the same body and `request_id`, and given up after a day."""
    sides.deliveries.answer = grpc.StatusCode.UNAVAILABLE
    sides.sign_up()
    for tries in (1, 2):
        wait_for(lambda tries=tries: len(sides.deliveries.asked) >= tries, "a try")  # type: ignore[misc]
        sides.clock.advance(timedelta(minutes=6))
    sides.clock.advance(timedelta(days=1))
    asked = sides.told()
    assert all(request == asked[0] for request in asked)
    assert asked[0].request_id
    ends = from_proto(asked[0].expires_at) - sides.clock()
    assert ends < timedelta(0)


def test_a_notice_to_a_user_who_is_gone_is_given_up(sides: Sides) -> None:
    """Deleted before the other service took it: it is not tried for a day, though at first the user may be too new."""
    sides.deliveries.answer = grpc.StatusCode.NOT_FOUND
    sides.sign_up()
    for tries in range(1, GONE_AFTER):
        wait_for(lambda tries=tries: len(sides.deliveries.asked) >= tries, "a try")  # type: ignore[misc]
        assert sides.left("send_notice") == 1
        sides.clock.advance(timedelta(minutes=6))
    assert len(sides.told()) == GONE_AFTER
