"""Verifications over the wire: what is right, wrong, too late, too often, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from vibework.users.v1 import user_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, users_service
from tests.integration.users.ways_to_sign_in import (
    NEW_KEY,
    code,
    consume_request,
    new_email,
    new_user,
    outcome,
    secret_of,
    verification,
    wrong,
)

CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
EMAIL_VERIFICATION = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
PASSWORD_RESET = pb.VERIFICATION_PURPOSE_PASSWORD_RESET
SIGN_IN = pb.VERIFICATION_PURPOSE_SIGN_IN
EMAIL_CHANGE = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE

LIFETIMES = [
    (SIGN_IN, CODE, timedelta(minutes=5)),
    (PASSWORD_RESET, CODE, timedelta(minutes=5)),
    (PASSWORD_RESET, TOKEN, timedelta(hours=1)),
    (EMAIL_VERIFICATION, TOKEN, timedelta(days=1)),
    (EMAIL_CHANGE, TOKEN, timedelta(days=1)),
]


async def consume(
    users: Stubs, purpose: pb.VerificationPurpose.ValueType, secret: pb.VerificationSecret, address: str = ""
) -> str:
    """Consume a secret and return how that ends."""
    return await outcome(users.verifications.ConsumeVerification(consume_request(purpose, secret, address)))


@pytest.fixture
def patient_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A server on the same database and clock that allows any number of attempts."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    with users_service(users_server.database, users_server.clock, **unlimited) as served:
        yield served


@pytest.mark.parametrize(("purpose", "kind", "lifetime"), LIFETIMES)
async def test_a_secret_works_once_and_within_its_lifetime(
    users: Stubs,
    users_server: UsersServer,
    purpose: pb.VerificationPurpose.ValueType,
    kind: pb.VerificationKind.ValueType,
    lifetime: timedelta,
) -> None:
    """The answer says when it ends; it is good just before, once, and expired after."""
    email = new_email()
    created = await verification(users, purpose, email.upper(), kind)
    told = created.verification
    assert (told.purpose, told.kind, told.identifier) == (purpose, kind, email)
    assert told.expires_at.ToDatetime() - told.created_at.ToDatetime() == lifetime
    users_server.clock.advance(lifetime - timedelta(seconds=30))
    request = consume_request(purpose, secret_of(created))
    assert (await users.verifications.ConsumeVerification(request)).verification == told
    assert await consume(users, purpose, secret_of(created)) == "VERIFICATION_INVALID"
    again = await verification(users, purpose, email, kind)
    users_server.clock.advance(lifetime)
    assert await consume(users, purpose, secret_of(again)) == "VERIFICATION_EXPIRED"
    # Who does not know the secret does not learn that there was one.
    assert await consume(users, purpose, wrong(again)) == "VERIFICATION_INVALID"


async def test_secrets_have_the_forms_that_are_promised(users: Stubs) -> None:
    """Six digits to type; the id and 256 random bits to put into a link."""
    short = await verification(users, SIGN_IN, new_email(), CODE)
    assert re.fullmatch(r"[0-9]{6}", short.secret)
    long = await verification(users, SIGN_IN, new_email(), TOKEN)
    head, _, tail = long.secret.partition(".")
    assert (f"vrf_{head}", len(tail)) == (long.verification.id, 43)


async def test_five_wrong_attempts_end_a_verification(users: Stubs, patient_server: UsersServer) -> None:
    """After the fifth even the right secret is refused, in the same words; a new one works."""
    async with patient_server.aio_channel() as channel:
        patient = Stubs.on(channel)
        for kind in (CODE, TOKEN):
            email = new_email()
            created = await verification(patient, SIGN_IN, email, kind)
            for _ in range(5):
                assert await consume(patient, SIGN_IN, wrong(created)) == "VERIFICATION_INVALID"
            for secret in (secret_of(created), wrong(created)):
                assert await consume(patient, SIGN_IN, secret) == "VERIFICATION_ATTEMPTS_EXCEEDED"
            replacement = await verification(patient, SIGN_IN, email, kind)
            assert await consume(patient, SIGN_IN, secret_of(replacement)) == "OK"


async def test_four_wrong_attempts_do_not(users: Stubs) -> None:
    """Whoever mistypes four times still gets in."""
    created = await verification(users, SIGN_IN, new_email())
    for _ in range(4):
        assert await consume(users, SIGN_IN, wrong(created)) == "VERIFICATION_INVALID"
    assert await consume(users, SIGN_IN, secret_of(created)) == "OK"


async def test_a_new_secret_replaces_the_one_before(users: Stubs, users_server: UsersServer) -> None:
    """One living secret of a kind for a purpose and address; other kinds and purposes are left alone."""
    email = new_email()
    first = await verification(users, SIGN_IN, email, TOKEN)
    second = await verification(users, SIGN_IN, email, TOKEN)
    code = await verification(users, SIGN_IN, email, CODE)
    other = await verification(users, PASSWORD_RESET, email, TOKEN)
    assert await consume(users, SIGN_IN, secret_of(first)) == "VERIFICATION_INVALID"
    rows = users_server.rows("SELECT id FROM verifications WHERE identifier = %s ORDER BY id", email)
    assert rows == [(each.verification.id,) for each in (second, code, other)]
    assert await consume(users, SIGN_IN, secret_of(code)) == "OK"
    assert await consume(users, SIGN_IN, secret_of(second)) == "OK"
    assert await consume(users, PASSWORD_RESET, secret_of(other)) == "OK"


async def test_a_secret_is_good_for_its_purpose_only(users: Stubs) -> None:
    """A sign-in code resets no password, also where both purposes have one at that time."""
    email = new_email()
    token = await verification(users, SIGN_IN, email, TOKEN)
    await verification(users, PASSWORD_RESET, email, TOKEN)
    assert await consume(users, PASSWORD_RESET, secret_of(token)) == "VERIFICATION_INVALID"
    assert await consume(users, SIGN_IN, secret_of(token)) == "OK"


async def test_guessed_codes_do_not_end_a_token(users: Stubs) -> None:
    """Whoever knows an address only cannot spoil the link that was sent there."""
    email = new_email()
    token = await verification(users, SIGN_IN, email, TOKEN)
    for number in range(6):
        assert await consume(users, SIGN_IN, code(email, f"{number:06}")) == "VERIFICATION_INVALID"
    assert await consume(users, SIGN_IN, secret_of(token)) == "OK"


@pytest.mark.parametrize("text", ["x", "1" * 26 + "." + "a" * 43, "." + "a" * 43, "0" * 26 + "." + "a" * 42])
async def test_what_never_was_a_token_is_answered_like_a_wrong_one(users: Stubs, text: str) -> None:
    """Nonsense, an unknown id and half a token all get the same answer."""
    assert await consume(users, SIGN_IN, pb.VerificationSecret(token=text)) == "VERIFICATION_INVALID"


async def test_whether_a_user_exists_is_not_told(users: Stubs) -> None:
    """CreateVerification and a wrong code answer alike for a user's address and for nobody's."""
    user = await new_user(users)
    for email in (user.email, new_email()):
        assert await outcome(verification(users, PASSWORD_RESET, email)) == "OK"
        assert await consume(users, PASSWORD_RESET, code(email, "nonsense")) == "VERIFICATION_INVALID"


async def test_a_repeated_creation_gets_the_first_secret(users: Stubs, users_server: UsersServer) -> None:
    """The same request_id answers the same secret and replaces nothing; with another body it is refused."""
    email, request_id = new_email(), str(uuid4())
    first = await verification(users, SIGN_IN, email, request_id=request_id)
    assert await verification(users, SIGN_IN, email, request_id=request_id) == first
    other = verification(users, SIGN_IN, new_email(), request_id=request_id)
    assert await outcome(other) == "REQUEST_ID_REUSED"
    assert await consume(users, SIGN_IN, secret_of(first)) == "OK"
    kept = users_server.rows("SELECT response FROM idempotency_keys WHERE request_id = %s", request_id)
    assert first.secret.encode() not in kept[0][0]


async def test_attempts_are_limited_per_identifier_across_secrets(users: Stubs) -> None:
    """Ten guesses in a window, however often a new code is asked for; then even the right one has to wait."""
    email = new_email()
    for _ in range(2):
        created = await verification(users, SIGN_IN, email)
        for _ in range(5):
            assert await consume(users, SIGN_IN, wrong(created)) == "VERIFICATION_INVALID"
    created = await verification(users, SIGN_IN, email)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.verifications.ConsumeVerification(consume_request(SIGN_IN, secret_of(created)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(caught.value) == "RATE_LIMITED"
    assert 0 < (retry_seconds(caught.value) or 0) <= 900


async def test_creations_are_limited_per_identifier_and_per_address(users: Stubs, users_server: UsersServer) -> None:
    """Nobody's inbox is flooded: ten secrets for an address in a window, and a client cannot walk through many."""
    email = new_email()
    for _ in range(10):
        await verification(users, SIGN_IN, email)
    assert await outcome(verification(users, SIGN_IN, email)) == "RATE_LIMITED"
    with users_service(users_server.database, attempts_per_address=3) as limited:
        async with limited.aio_channel() as channel:
            client = user_pb2.ClientContext(ip_address="192.0.2.33")
            ends = [await outcome(verification(Stubs.on(channel), SIGN_IN, new_email(), client=client)) for _ in "1234"]
    assert ends == ["OK", "OK", "OK", "RATE_LIMITED"]


async def test_guessing_tokens_is_limited_per_address(users: Stubs, users_server: UsersServer) -> None:
    """Tokens name nobody before they are found right, so the client's address is what is counted."""
    with users_service(users_server.database, attempts_per_address=3) as limited:
        async with limited.aio_channel() as channel:
            secret = pb.VerificationSecret(token="0" * 26 + "." + "a" * 43)
            ends = [await consume(Stubs.on(channel), SIGN_IN, secret, "192.0.2.44") for _ in "1234"]
    assert ends == ["VERIFICATION_INVALID"] * 3 + ["RATE_LIMITED"]


async def test_secrets_stay_good_while_keys_rotate(users: Stubs, users_server: UsersServer) -> None:
    """A code that was made under the old key is accepted by a process whose newest key is another."""
    created = await verification(users, SIGN_IN, new_email())
    with users_service(users_server.database, users_server.clock, secret_keys=NEW_KEY) as keyless:
        async with keyless.aio_channel() as channel:
            assert await consume(Stubs.on(channel), SIGN_IN, secret_of(created)) == "VERIFICATION_INVALID"
    both = f"{NEW_KEY},{users_server.settings.secret_keys.get_secret_value()}"
    with users_service(users_server.database, users_server.clock, secret_keys=both) as newer:
        async with newer.aio_channel() as channel:
            assert await consume(Stubs.on(channel), SIGN_IN, secret_of(created)) == "OK"
