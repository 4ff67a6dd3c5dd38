"""Verifications against a plain model: any order of creating, consuming, acting and waiting ends as the rules say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.ways_to_sign_in import code, consume_request, new_email, secret_of, wrong

CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
SIGN_IN, EMAIL_CHANGE = pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
PURPOSES = st.sampled_from([SIGN_IN, EMAIL_CHANGE, pb.VERIFICATION_PURPOSE_PASSWORD_RESET])
KINDS = st.sampled_from([CODE, TOKEN])
ADDRESSES = st.integers(0, 2)
PEOPLE = st.integers(0, 3)
# Sums of these are never as long as a lifetime, give or take seconds, unless they are longer.
WAITS = st.sampled_from([timedelta(minutes=2), timedelta(minutes=27), timedelta(hours=23)])
NEW = pb.SignInWithVerificationRequest.NewUser()

Key = tuple[int, str, int, str]


@dataclass
class Living:
    """What the model knows of the newest verification of a purpose, identifier, kind and user."""

    created: pb.CreateVerificationResponse
    attempts: int = 0
    consumed: bool = False

    def ends(self) -> datetime:
        """When it expires, naive."""
        return self.created.verification.expires_at.ToDatetime()


@dataclass
class Person:
    """What the model knows of a user."""

    email: str
    verified: bool = False
    # When each that was not revoked expires, naive.
    sessions: list[datetime] = field(default_factory=list)


class Verifications(RuleBasedStateMachine):
    """Calls the service and the model alike and compares what they say."""

    created = Bundle("created")
    server: UsersServer
    # Synchronous: on a channel that is.
    stubs: Any

    @initialize()
    def start(self) -> None:
        """Take three addresses that nobody used before, and a user for two of them."""
        self.identifiers = [new_email() for _ in range(3)]
        self.newest: dict[Key, Living] = {}
        self.people: dict[str, Person] = {}
        for email in self.identifiers[:2]:
            user = self.stubs.users.CreateUser(users_pb.CreateUserRequest(email=email)).user
            self.people[user.id] = Person(email)
        # Also those who are gone.
        self.ids = list(self.people)

    def id_of(self, who: int) -> str:
        """Return the id of somebody who is or was there."""
        return self.ids[who % len(self.ids)]

    @rule(target=created, purpose=PURPOSES, which=ADDRESSES, kind=KINDS)
    def create(self, purpose: Any, which: int, kind: Any) -> Any:
        """A new one takes the place of the one before of its purpose, identifier and kind."""
        return self.make(purpose, self.identifiers[which], kind, "")

    @rule(target=created, which=ADDRESSES, kind=KINDS, who=PEOPLE)
    def ask(self, which: int, kind: Any, who: int) -> Any:
        """One for somebody's change of address takes the place of that user's alone."""
        return self.make(EMAIL_CHANGE, self.identifiers[which], kind, self.id_of(who))

    def make(self, purpose: Any, identifier: str, kind: Any, user_id: str) -> Any:
        """Have a secret made; of who is gone there is none."""
        request = pb.CreateVerificationRequest(purpose=purpose, identifier=identifier, kind=kind, user_id=user_id)
        response, end = self.call(self.stubs.verifications.CreateVerification, request)
        assert end == ("USER_NOT_FOUND" if user_id and user_id not in self.people else "OK")
        if response is None:
            return multiple()
        self.newest[purpose, identifier, kind, user_id] = Living(response)
        return response

    @rule(created=created)
    def give_back(self, created: pb.CreateVerificationResponse) -> None:
        """A secret, perhaps replaced, consumed or expired, for its own purpose."""
        self.consume(created.verification.purpose, secret_of(created), created)

    @rule(created=created, purpose=PURPOSES)
    def give_for(self, created: pb.CreateVerificationResponse, purpose: Any) -> None:
        """A secret for some purpose."""
        self.consume(purpose, secret_of(created), created)

    @rule(created=created)
    def give_wrong(self, created: pb.CreateVerificationResponse) -> None:
        """A secret that is wrong in every way."""
        self.consume(created.verification.purpose, wrong(created), created)

    @rule(created=created, purpose=PURPOSES, which=ADDRESSES)
    def give_for_another(self, created: pb.CreateVerificationResponse, purpose: Any, which: int) -> None:
        """A code, or half a token, as the code of some address."""
        self.consume(purpose, code(self.identifiers[which], created.secret[-6:]), None)

    @rule(created=created, who=PEOPLE, right=st.booleans())
    def change_email(self, created: pb.CreateVerificationResponse, who: int, *, right: bool) -> None:
        """A secret for somebody's change of address, perhaps made for somebody else, for nobody, or wrong."""
        user_id, secret = self.id_of(who), secret_of(created) if right else wrong(created)
        request = pb.ChangeEmailRequest(secret=secret, user_id=user_id)
        response, end = self.call(self.stubs.verifications.ChangeEmail, request)
        email = created.verification.identifier
        assert end == self.attempted(EMAIL_CHANGE, secret, created, user_id, lambda: self.moved(user_id, email))
        if response is not None:
            assert (response.user.id, response.user.email, response.user.email_verified) == (user_id, email, True)

    @rule(created=created, new=st.booleans(), right=st.booleans())
    def sign_in(self, created: pb.CreateVerificationResponse, *, new: bool, right: bool) -> None:
        """A secret for a sign-in, perhaps of nobody, who may be created."""
        secret, email = secret_of(created) if right else wrong(created), created.verification.identifier
        request = pb.SignInWithVerificationRequest(secret=secret, new_user=NEW if new else None)
        response, end = self.call(self.stubs.verifications.SignInWithVerification, request)
        expected = self.attempted(SIGN_IN, secret, created, "", lambda: self.entered(email, response, new=new))
        assert end == expected

    @rule(who=PEOPLE, which=ADDRESSES)
    def update(self, who: int, which: int) -> None:
        """A change of address by no secret."""
        user_id, email = self.id_of(who), self.identifiers[which]
        user = user_pb2.User(id=user_id, email=email)
        request = users_pb.UpdateUserRequest(user=user, update_mask=FieldMask(paths=["email"]))
        _, end = self.call(self.stubs.users.UpdateUser, request)
        person = self.people.get(user_id)
        if person is None:
            assert end == "USER_NOT_FOUND"
        elif person.email != email:
            assert end == self.moved(user_id, email)
            person.verified = person.verified and end != "OK"

    @rule(who=PEOPLE)
    def delete(self, who: int) -> None:
        """Somebody goes, and what was made for the user and the address with them."""
        user_id = self.id_of(who)
        _, end = self.call(self.stubs.users.DeleteUser, users_pb.DeleteUserRequest(id=user_id))
        person = self.people.pop(user_id, None)
        assert end == ("OK" if person else "USER_NOT_FOUND")
        if person:
            self.void(user_id, person.email)

    @rule(by=WAITS)
    def wait(self, by: timedelta) -> None:
        """Time passes, and sessions with it."""
        self.server.clock.advance(by)

    def call(self, method: Any, request: Any) -> tuple[Any, str]:
        """Make a call; return its answer, if any, and how it ends."""
        try:
            return method(request), "OK"
        except grpc.RpcError as error:
            return None, reason(error)

    def consume(self, purpose: Any, secret: pb.VerificationSecret, made: pb.CreateVerificationResponse | None) -> None:
        """Consume, and compare the end with the model's."""
        _, end = self.call(self.stubs.verifications.ConsumeVerification, consume_request(purpose, secret))
        assert end == self.attempted(purpose, secret, made, "", lambda: "OK")

    def attempted(
        self,
        purpose: int,
        secret: pb.VerificationSecret,
        made: pb.CreateVerificationResponse | None,
        user_id: str,
        act: Callable[[], str],
    ) -> str:
        """Say how a secret ends that is given for a purpose and a user, and take it into the model."""
        by_code = secret.WhichOneof("secret") == "code"
        identifier = secret.code.identifier if by_code else made.verification.identifier if made else ""
        living = self.newest.get((purpose, identifier, CODE if by_code else TOKEN, user_id))
        given = secret.code.code if by_code else secret.token
        if living is None or (not by_code and given.partition(".")[0] != living.created.secret.partition(".")[0]):
            return "VERIFICATION_INVALID"
        return self.attempt(living, act, right=given == living.created.secret)

    def attempt(self, living: Living, act: Callable[[], str], *, right: bool) -> str:
        """Do with the model's verification what the service should do with the row."""
        if living.consumed:
            return "VERIFICATION_INVALID"
        if living.attempts >= 5:
            return "VERIFICATION_ATTEMPTS_EXCEEDED"
        if living.ends() <= self.server.clock().replace(tzinfo=None):
            return "VERIFICATION_EXPIRED" if right else "VERIFICATION_INVALID"
        if right:
            end = act()
            # What fails consumes nothing.
            living.consumed = end == "OK"
            return end
        living.attempts += 1
        return "VERIFICATION_INVALID"

    def moved(self, user_id: str, email: str) -> str:
        """Give somebody an address, unless another one has it."""
        person = self.people[user_id]
        if person.email != email and email in {other.email for other in self.people.values()}:
            return "EMAIL_TAKEN"
        if person.email != email:
            self.void(user_id, person.email, email)
        person.email, person.verified = email, True
        return "OK"

    def entered(self, email: str, response: Any, *, new: bool) -> str:
        """Sign in whoever has the address, or the one who is created."""
        found = next((id_ for id_, person in self.people.items() if person.email == email), None)
        if found is None and not new:
            return "USER_NOT_FOUND"
        is_new = found is None
        if found is None:
            found = str(response.user.id)
            self.people[found] = Person(email, verified=True)
            self.ids.append(found)
        assert (response.user.id, response.user_created) == (found, is_new)
        self.proved(found, response)
        self.people[found].sessions.append(response.session.expires_at.ToDatetime())
        return "OK"

    def proved(self, user_id: str, response: Any) -> None:
        """End, with a first proof, what was there before."""
        person, now = self.people[user_id], self.server.clock().replace(tzinfo=None)
        assert response.HasField("ended_access") is not person.verified
        if not person.verified:
            expired = [end for end in person.sessions if end <= now]
            assert response.ended_access.session_count == len(person.sessions) - len(expired)
            self.void(user_id, person.email)
            person.verified, person.sessions = True, expired

    def void(self, user_id: str, *emails: str) -> None:
        """Forget what was made for somebody, and for nobody in particular at these addresses."""
        for key in list(self.newest):
            _, identifier, _, of_user = key
            if of_user == user_id or (not of_user and identifier in emails):
                del self.newest[key]

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Every row, whose it is, its attempts and its end, and no other row."""
        rows = self.server.rows(
            "SELECT id, user_id, attempts, consumed_at IS NOT NULL FROM verifications "
            "WHERE identifier IN (%s, %s, %s) ORDER BY id",
            *self.identifiers,
        )
        living = [
            (item.created.verification.id, user_id, item.attempts, int(item.consumed))
            for (_, _, _, user_id), item in self.newest.items()
        ]
        assert rows == sorted(living)

    @invariant()
    def people_are_as_the_model_says(self) -> None:
        """Who has which address, proved or not, and with how many sessions."""
        rows = self.server.rows(
            "SELECT id, email, email_verified, (SELECT COUNT(*) FROM sessions WHERE user_id = users.id "
            "AND revoked_at IS NULL) FROM users WHERE email IN (%s, %s, %s) ORDER BY id",
            *self.identifiers,
        )
        people = [(id_, each.email, int(each.verified), len(each.sessions)) for id_, each in self.people.items()]
        assert rows == sorted(people)


@pytest.mark.long
def test_any_order_of_calls_ends_as_the_rules_say(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """The service and a model of a page agree on every answer and every row."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    limits = settings(
        max_examples=40,
        stateful_step_count=30,
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
