"""`send_code`: a secret goes out through the notifications service, once, in time, and stands readable nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import grpc
import pytest
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.contract.timestamps import from_proto
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.sides import EMAIL, Deliveries, Sides, both_sides
from tests.harness.users import reason

URLS: Final = (
    "password_reset=https://app.example.com/reset?t={token}&from=mail sign_in=https://app.example.com/in/{token} "
    "email_change=https://app.example.com/move/{token}"
)
CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
RESET, SIGN_IN = pb.VERIFICATION_PURPOSE_PASSWORD_RESET, pb.VERIFICATION_PURPOSE_SIGN_IN
EMAIL_CHANGE = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
KINDS: Final = [CODE, TOKEN]
# More than any pause of the relay.
LATER: Final = timedelta(minutes=1)


@contextmanager
def both(database: MySQLDatabase, deliveries: Deliveries | None = None, **settings: Any) -> Iterator[Sides]:
    """Serve both sides on a database, with pages for links."""
    with both_sides(database, deliveries, **({"verification_urls": URLS} | settings)) as sides:
        yield sides


@pytest.fixture
def sides(mysql_database: MySQLDatabase) -> Iterator[Sides]:
    """Both sides."""
    with both(mysql_database) as served:
        yield served


def code_of(sent: deliveries_pb.SendDirectRequest) -> pb.VerificationSecret:
    """Return the code in a mail, as the end user types it."""
    typed = sent.template.variables["code"]
    return pb.VerificationSecret(code=pb.VerificationSecret.CodeSecret(identifier=EMAIL, code=typed))


def secret_in(sent: deliveries_pb.SendDirectRequest) -> pb.VerificationSecret:
    """Return the secret in a mail, whatever its form; the URLs of the two purposes end in the token."""
    if "code" in sent.template.variables:
        return code_of(sent)
    return pb.VerificationSecret(token=sent.template.variables["url"].rpartition("/")[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_for_a_change_goes_to_the_new_address(sides: Sides, kind: Any) -> None:
    """It gives the user who asked the address that it was mailed to; nobody else may use it."""
    user = sides.stubs.users.CreateUser(users_pb.CreateUserRequest(email="old@example.com")).user
    sides.create(purpose=EMAIL_CHANGE, kind=kind, user_id=user.id)
    sent = sides.sent()
    assert (sent.email_address, sent.template.purpose) == (EMAIL, "email_change")
    request = pb.ChangeEmailRequest(secret=secret_in(sent), user_id=user.id)
    changed = sides.stubs.verifications.ChangeEmail(request).user
    assert (changed.id, changed.email, changed.email_verified) == (user.id, EMAIL, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_for_a_sign_in_lets_its_reader_in(sides: Sides, kind: Any) -> None:
    """What was mailed makes a session, and the user where nobody has the address yet."""
    sides.create(kind=kind)
    sent = sides.sent()
    assert (sent.email_address, sent.template.purpose) == (EMAIL, "sign_in")
    new = pb.SignInWithVerificationRequest.NewUser()
    request = pb.SignInWithVerificationRequest(secret=secret_in(sent), new_user=new)
    answer = sides.stubs.verifications.SignInWithVerification(request)
    assert answer.user.email == EMAIL
    assert answer.user_created
    assert answer.session_token


def test_nothing_is_sent_for_a_user_who_is_not_there(sides: Sides) -> None:
    """NOT_FOUND, and no mail to the address that somebody named."""
    refusal = sides.refused(purpose=EMAIL_CHANGE, user_id="user_01jd0000000000000000000000")
    assert refusal == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert sides.waiting == 0


def test_a_code_goes_to_its_person_and_not_to_the_caller(sides: Sides) -> None:
    """The mail has the code, which is good; the caller learns everything but the code."""
    created = sides.create(identifier="Ann@Example.com", locale="pt-BR")
    assert created.secret == ""
    sent = sides.sent()
    assert (sent.email_address, sent.template.purpose, sent.locale) == (EMAIL, "sign_in", "pt-BR")
    assert set(sent.template.variables) == {"code"}
    assert from_proto(sent.expires_at) == from_proto(created.verification.expires_at)
    assert sides.consume(code_of(sent)) == EMAIL


def test_a_link_leads_to_the_page_of_its_purpose(sides: Sides) -> None:
    """The token stands in the URL of the setting; and the mail ends within what SendDirect takes."""
    created = sides.create(purpose=SIGN_IN, kind=TOKEN)
    sent = sides.sent()
    start, url = "https://app.example.com/in/", sent.template.variables["url"]
    assert url.startswith(start)
    assert sides.consume(pb.VerificationSecret(token=url.removeprefix(start))) == EMAIL
    age = from_proto(sent.expires_at) - from_proto(created.verification.created_at)
    assert timedelta(hours=23) < age < timedelta(hours=24)


def test_what_cannot_be_sent_is_refused_before_anything_changes(mysql_database: MySQLDatabase) -> None:
    """Without a page for links, or without the other service: FAILED_PRECONDITION, and the secret before stays good."""
    refusal = (grpc.StatusCode.FAILED_PRECONDITION, "VERIFICATION_DELIVERY_NOT_CONFIGURED")
    with both(mysql_database, notifications_address="off") as sides:
        created = sides.create(delivery=pb.VERIFICATION_DELIVERY_RETURN_CODE)
        assert sides.refused() == refusal
        assert sides.refused(kind=TOKEN) == refusal
    with both(mysql_database, verification_urls="sign_in=https://app.example.com/{token}") as sides:
        assert sides.refused(purpose=RESET, kind=TOKEN) == refusal
        assert sides.waiting == 0
        secret = pb.VerificationSecret.CodeSecret(identifier=EMAIL, code=created.secret)
        assert sides.consume(pb.VerificationSecret(code=secret)) == EMAIL


def test_a_mail_waits_for_the_other_service_and_is_asked_for_alike_each_time(sides: Sides) -> None:
    """Refused or unanswered, it is asked for again, with the same body and `request_id`: so it is sent once."""
    sides.deliveries.answer = grpc.StatusCode.UNAVAILABLE
    sides.create()
    wait_for(lambda: len(sides.deliveries.asked) == 1, "the first try")
    sides.deliveries.answer = grpc.StatusCode.OK
    sides.clock.advance(LATER)
    sides.sent(2)
    first, second = sides.deliveries.asked
    assert first == second
    assert first.request_id


def test_a_repeat_of_the_call_leaves_one_mail(sides: Sides) -> None:
    """The first answer comes again (AIP-155), and nobody gets two codes."""
    request_id = "0b7fbd3c-8a4b-4c1e-9c4a-2f3f8f2f9a11"
    first = sides.create(request_id=request_id)
    sides.sent()
    assert sides.create(request_id=request_id) == first
    assert sides.waiting == 0


def test_a_secret_for_a_change_is_not_sent_once_its_user_has_changed(mysql_database: MySQLDatabase) -> None:
    """The mail to the new address waited while the user was disabled: its secret is void, and stays here."""
    deliveries = Deliveries(answer=grpc.StatusCode.UNAVAILABLE)
    with both(mysql_database, deliveries) as sides:
        user = sides.stubs.users.CreateUser(users_pb.CreateUserRequest(email="old@example.com")).user
        sides.create(purpose=EMAIL_CHANGE, user_id=user.id)
        wait_for(lambda: bool(deliveries.asked), "the first try")
        sides.stubs.users.DisableUser(users_pb.DisableUserRequest(id=user.id))
        tried = len(deliveries.asked)
        sides.clock.advance(LATER)
        wait_for(lambda: not sides.waiting, "the end of the entry")
        assert len(deliveries.asked) == tried


@pytest.mark.parametrize("way", ["replaced", "consumed", "expired", "void"])
def test_what_is_of_no_use_any_more_is_not_sent(mysql_database: MySQLDatabase, way: str) -> None:
    """The other service was away: a code that was replaced, consumed, voided or expired meanwhile stays here."""
    deliveries = Deliveries(answer=grpc.StatusCode.UNAVAILABLE)
    with both(mysql_database, deliveries) as sides:
        user = sides.stubs.users.CreateUser(users_pb.CreateUserRequest(email=EMAIL)).user
        sides.create()
        wait_for(lambda: bool(deliveries.asked), "the first try")
        of_no_use: dict[str, Any] = {
            "replaced": lambda: sides.create(delivery=pb.VERIFICATION_DELIVERY_RETURN_CODE),
            "consumed": lambda: sides.consume(code_of(deliveries.asked[0])),
            "expired": lambda: sides.clock.advance(timedelta(minutes=5)),
            "void": lambda: sides.stubs.users.DeleteUser(users_pb.DeleteUserRequest(id=user.id)),
        }
        of_no_use[way]()
        tried = len(deliveries.asked)
        sides.clock.advance(LATER)
        wait_for(lambda: not sides.waiting, "the end of the entry")
        assert len(deliveries.asked) == tried


def test_the_outbox_holds_no_readable_secret(mysql_database: MySQLDatabase) -> None:
    """Neither code nor token stands in any column of any table while it waits."""
    deliveries = Deliveries(answer=grpc.StatusCode.UNAVAILABLE)
    with both(mysql_database, deliveries) as sides:
        sides.create()
        sides.create(kind=TOKEN, purpose=RESET)
        wait_for(lambda: len({request.request_id for request in deliveries.asked}) == 2, "both tries")
        secrets = [value for request in deliveries.asked for value in request.template.variables.values()]
        tables = [name for (name,) in sides.server.rows("SHOW TABLES")]
        stored = "".join(str(row) for name in tables for row in sides.server.rows(f"SELECT * FROM `{name}`"))
        assert sides.waiting == 2
        for secret in secrets:
            assert secret.rpartition("=")[2].rpartition("/")[2].removesuffix("&from") not in stored


def test_an_entry_that_nobody_can_open_is_given_up(mysql_database: MySQLDatabase) -> None:
    """Its key is gone: it is told in the log and does not stay for ever; the next code goes out."""
    deliveries = Deliveries(answer=grpc.StatusCode.UNAVAILABLE)
    with both(mysql_database, deliveries) as sides:
        sides.create()
        wait_for(lambda: bool(deliveries.asked), "the first try")
        sides.server.rows('UPDATE outbox SET payload = REPLACE(payload, \'"secret": "\', \'"secret": "AAAA\')')
        tried, deliveries.answer = len(deliveries.asked), grpc.StatusCode.OK
        sides.clock.advance(LATER)
        wait_for(lambda: not sides.waiting, "the end of the entry")
        assert len(deliveries.asked) == tried
        sides.create()
        wait_for(lambda: len(deliveries.asked) == tried + 1, "the next code")


def test_of_calls_at_once_the_living_code_is_sent(sides: Sides) -> None:
    """Five at once are all answered, and of the codes in the mails exactly one is good: the one that is stored."""
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda _: sides.create(), range(5)))
    wait_for(lambda: not sides.waiting, "all mails")
    good = 0
    for request in sides.deliveries.asked:
        try:
            sides.consume(code_of(request))
        except grpc.RpcError as error:
            assert reason(error) == "VERIFICATION_INVALID"  # noqa: PT017
        else:
            good += 1
    assert good == 1
