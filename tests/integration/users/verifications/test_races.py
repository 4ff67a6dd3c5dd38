"""Verifications under many hands at once: consumed once, counted right, replaced whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.lock_waits import patient_locks
from tests.integration.users.ways_to_sign_in import (
    consume_request,
    new_email,
    new_user,
    outcome,
    secret_of,
    verification,
    wrong,
)

SIGN_IN = pb.VERIFICATION_PURPOSE_SIGN_IN
EMAIL_VERIFICATION = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
KINDS = [pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN]


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server that limits nobody: here the attempts of the verification itself are what is tested."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    with (
        patient_locks(),
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **unlimited) as served,
    ):
        yield served


async def consume_all(many: list[Stubs], secrets: list[pb.VerificationSecret]) -> list[str]:
    """Consume the secrets all at once and return how each ends."""
    calls = [
        many[number % len(many)].verifications.ConsumeVerification(consume_request(SIGN_IN, secret))
        for number, secret in enumerate(secrets)
    ]
    return list(await asyncio.gather(*map(outcome, calls)))


@pytest.mark.parametrize("kind", KINDS)
async def test_of_64_who_give_the_right_secret_at_once_one_consumes_it(
    many: list[Stubs], kind: pb.VerificationKind.ValueType
) -> None:
    """Exactly one succeeds, and the 63 others are not counted as wrong."""
    created = await verification(many[0], SIGN_IN, new_email(), kind)
    ends = await consume_all(many, [secret_of(created)] * 64)
    assert sorted(ends) == ["OK"] + ["VERIFICATION_INVALID"] * 63


@pytest.mark.parametrize("kind", KINDS)
async def test_a_right_secret_beside_four_wrong_ones_wins(
    many: list[Stubs], kind: pb.VerificationKind.ValueType
) -> None:
    """Whatever the order, four wrong attempts do not keep the right one out, and no attempt is lost."""
    for place in range(5):
        created = await verification(many[0], SIGN_IN, new_email(), kind)
        secrets = [wrong(created)] * 4
        secrets.insert(place, secret_of(created))
        ends = await consume_all(many, secrets)
        assert ends[place] == "OK"
        assert ends.count("VERIFICATION_INVALID") == 4


async def test_of_64_wrong_attempts_at_once_five_are_tried(many: list[Stubs], users_server: UsersServer) -> None:
    """Guessing in parallel gains nothing: the count stops at five, and the right code is refused then."""
    created = await verification(many[0], SIGN_IN, new_email())
    ends = await consume_all(many, [wrong(created)] * 64)
    assert ends.count("VERIFICATION_ATTEMPTS_EXCEEDED") <= 59
    assert set(ends) == {"VERIFICATION_INVALID", "VERIFICATION_ATTEMPTS_EXCEEDED"}
    attempts = users_server.rows("SELECT attempts FROM verifications WHERE id = %s", created.verification.id)
    assert attempts == [(5,)]
    assert await consume_all(many, [secret_of(created)]) == ["VERIFICATION_ATTEMPTS_EXCEEDED"]


async def test_16_secrets_created_at_once_leave_one_living(many: list[Stubs], users_server: UsersServer) -> None:
    """All sixteen callers get an answer; exactly one of the secrets is good."""
    email = new_email()
    calls = [verification(many[number % 4], SIGN_IN, email, pb.VERIFICATION_KIND_TOKEN) for number in range(16)]
    created = await asyncio.gather(*calls)
    ends = await consume_all(many, [secret_of(item) for item in created])
    assert sorted(ends) == ["OK"] + ["VERIFICATION_INVALID"] * 15
    assert users_server.rows("SELECT COUNT(*) FROM verifications WHERE identifier = %s", email) == [(1,)]


async def test_a_secret_replaced_while_it_is_consumed_is_good_or_not_but_never_both(many: list[Stubs]) -> None:
    """The old secret wins or loses as a whole; whatever happens to it, the new one is good."""
    for kind in KINDS:
        for _ in range(8):
            email = new_email()
            old = await verification(many[0], SIGN_IN, email, kind)
            ends, new = await asyncio.gather(
                consume_all(many, [secret_of(old)] * 4), verification(many[1], SIGN_IN, email, kind)
            )
            assert ends.count("OK") <= 1
            assert set(ends) <= {"OK", "VERIFICATION_INVALID"}
            assert await consume_all(many, [secret_of(new)]) == ["OK"]


async def test_of_16_who_verify_an_address_at_once_one_does(many: list[Stubs]) -> None:
    """Consuming and marking the user happen together, once."""
    user = await new_user(many[0])
    created = await verification(many[0], EMAIL_VERIFICATION, user.email)
    request = pb.VerifyEmailRequest(secret=secret_of(created))
    calls = [many[number % 4].verifications.VerifyEmail(request) for number in range(16)]
    ends = await asyncio.gather(*map(outcome, calls))
    assert sorted(ends) == ["OK"] + ["VERIFICATION_INVALID"] * 15
