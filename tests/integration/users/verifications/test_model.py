"""Verifications against a plain model: any order of creating, consuming and waiting ends as the rules say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.ways_to_sign_in import code, consume_request, new_email, secret_of, wrong

CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
PURPOSES = st.sampled_from([pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_PURPOSE_PASSWORD_RESET])
KINDS = st.sampled_from([CODE, TOKEN])
# Sums of these are never as long as a lifetime, give or take seconds, unless they are longer.
WAITS = st.sampled_from([timedelta(minutes=2), timedelta(minutes=27), timedelta(hours=23)])


@dataclass
class Living:
    """What the model knows of the newest verification of a purpose and identifier."""

    created: pb.CreateVerificationResponse
    attempts: int = 0
    consumed: bool = False

    @property
    def kind(self) -> int:
        """Its form."""
        return self.created.verification.kind

    def ends(self) -> datetime:
        """When it expires, naive."""
        return self.created.verification.expires_at.ToDatetime()


class Verifications(RuleBasedStateMachine):
    """Calls the service and the model alike and compares what they say."""

    created = Bundle("created")
    server: UsersServer
    # Synchronous: on a channel that is.
    stubs: Any

    @initialize()
    def start(self) -> None:
        """Take two addresses that nobody used before."""
        self.identifiers = [new_email(), new_email()]
        self.newest: dict[tuple[int, str], Living] = {}

    @rule(target=created, purpose=PURPOSES, which=st.integers(0, 1), kind=KINDS)
    def create(self, purpose: Any, which: int, kind: Any) -> pb.CreateVerificationResponse:
        """A new one takes the place of the one before of its purpose and identifier."""
        request = pb.CreateVerificationRequest(purpose=purpose, identifier=self.identifiers[which], kind=kind)
        response: pb.CreateVerificationResponse = self.stubs.verifications.CreateVerification(request)
        self.newest[purpose, self.identifiers[which]] = Living(response)
        return response

    @rule(created=created)
    def give_back(self, created: pb.CreateVerificationResponse) -> None:
        """A secret, perhaps replaced, consumed or expired, for its own purpose."""
        self.give(created.verification.purpose, secret_of(created), created)

    @rule(created=created, purpose=PURPOSES)
    def give_for(self, created: pb.CreateVerificationResponse, purpose: Any) -> None:
        """A secret for some purpose."""
        self.give(purpose, secret_of(created), created)

    @rule(created=created)
    def give_wrong(self, created: pb.CreateVerificationResponse) -> None:
        """A secret that is wrong in every way."""
        self.give(created.verification.purpose, wrong(created), created)

    @rule(created=created, purpose=PURPOSES, which=st.integers(0, 1))
    def give_for_another(self, created: pb.CreateVerificationResponse, purpose: Any, which: int) -> None:
        """A code, or half a token, as the code of some address."""
        secret = code(self.identifiers[which], created.secret[-6:])
        self.give(purpose, secret, None)

    @rule(by=WAITS)
    def wait(self, by: timedelta) -> None:
        """Time passes."""
        self.server.clock.advance(by)

    def give(self, purpose: Any, secret: pb.VerificationSecret, made: pb.CreateVerificationResponse | None) -> None:
        """Consume, and compare the end with the model's."""
        expected = self.expected(purpose, secret, made)
        try:
            self.stubs.verifications.ConsumeVerification(consume_request(purpose, secret))
            end = "OK"
        except grpc.RpcError as error:
            end = reason(error)
        assert end == expected

    def expected(self, purpose: int, secret: pb.VerificationSecret, made: pb.CreateVerificationResponse | None) -> str:
        """Say how it ends, and take it into the model."""
        by_code = secret.WhichOneof("secret") == "code"
        identifier = secret.code.identifier if by_code else made.verification.identifier if made else ""
        living = self.newest.get((purpose, identifier))
        if living is None or living.kind != (CODE if by_code else TOKEN):
            return "VERIFICATION_INVALID"
        given = secret.code.code if by_code else secret.token
        if not by_code and given.partition(".")[0] != living.created.secret.partition(".")[0]:
            return "VERIFICATION_INVALID"
        return self.attempt(living, right=given == living.created.secret)

    def attempt(self, living: Living, *, right: bool) -> str:
        """Do with the model's verification what the service should do with the row."""
        if living.consumed:
            return "VERIFICATION_INVALID"
        if living.attempts >= 5:
            return "VERIFICATION_ATTEMPTS_EXCEEDED"
        if living.ends() <= self.server.clock().replace(tzinfo=None):
            return "VERIFICATION_EXPIRED" if right else "VERIFICATION_INVALID"
        if right:
            living.consumed = True
            return "OK"
        living.attempts += 1
        return "VERIFICATION_INVALID"

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Every row, its attempts and its end, and no other row."""
        rows = self.server.rows(
            "SELECT id, attempts, consumed_at IS NOT NULL FROM verifications WHERE identifier IN (%s, %s) ORDER BY id",
            *self.identifiers,
        )
        living = [(item.created.verification.id, item.attempts, int(item.consumed)) for item in self.newest.values()]
        assert rows == sorted(living)


@pytest.mark.long
def test_any_order_of_calls_ends_as_the_rules_say(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """The service and a model of a page agree on every answer and every row."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    limits = settings(
        max_examples=30,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **unlimited) as server,
        server.channel() as channel,
    ):
        machine = type("Machine", (Verifications,), {"server": server, "stubs": Stubs.on(cast("Any", channel))})
        run_state_machine_as_test(machine, settings=limits)
