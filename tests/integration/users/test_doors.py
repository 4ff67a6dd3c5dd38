"""Limits on attempts, door by door: whoever uses one up, by requests or wrong tries, shuts no other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import ROOT, MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    code,
    consume_request,
    new_email,
    new_user,
    outcome,
    provider_account,
    secret_of,
    sign_in_request,
    verification,
    wrong,
)
from users_service.verifications.model import MAX_ATTEMPTS

# As many as there are ways through one door.
LIMIT = 3
MANY = 1_000
PURPOSES = [value for value in pb.VerificationPurpose.values() if value]
RPC = re.compile(r"((?: *//[^\n]*\n)+) *rpc (\w+)\(")


@dataclass(frozen=True)
class Visitor:
    """Whose attempts are counted: a user with a password, and the address that the calls come from."""

    user: user_pb2.User
    ip_address: str

    @property
    def client(self) -> user_pb2.ClientContext:
        """Where the calls come from."""
        return user_pb2.ClientContext(ip_address=self.ip_address)


Call = Callable[[Stubs, Visitor], Awaitable[str]]


@dataclass(frozen=True)
class Door:
    """A door: the RPC, an attempt that uses it up, and one that shows whether it is open."""

    rpc: str
    name: str
    knock: Call
    # Of whom the attempts are counted.
    by_account: bool = True

    def __str__(self) -> str:
        return f"{self.rpc} {self.name}".strip()


async def sign_in(users: Stubs, of: Visitor) -> str:
    """Guess the password at the sign-in."""
    request = sessions_pb.SignInRequest(email=of.user.email, password="a wrong guess", client=of.client)
    return await outcome(users.sessions.SignIn(request))


async def sign_up(users: Stubs, of: Visitor) -> str:
    """Make a user."""
    request = sessions_pb.SignUpRequest(email=new_email(), password=PASSWORD, client=of.client)
    return await outcome(users.sessions.SignUp(request))


async def change_password(users: Stubs, of: Visitor) -> str:
    """Guess the password where it is changed."""
    request = accounts_pb.ChangePasswordRequest(
        user_id=of.user.id, current_password="a wrong guess", new_password=PASSWORD, client=of.client
    )
    return await outcome(users.accounts.ChangePassword(request))


async def provider_sign_up(users: Stubs, of: Visitor) -> str:
    """Make a user by a provider's word."""
    request = sign_in_request(provider_account(), new_email(), address=of.ip_address)
    return await outcome(users.accounts.SignInWithAccount(request))


async def create(purpose: pb.VerificationPurpose.ValueType, users: Stubs, of: Visitor) -> str:
    """Ask for a secret."""
    return await outcome(verification(users, purpose, of.user.email, client=of.client))


async def consume(purpose: pb.VerificationPurpose.ValueType, users: Stubs, of: Visitor) -> str:
    """Try a wrong secret."""
    request = pb.ConsumeVerificationRequest(purpose=purpose, secret=code(of.user.email, "none"), client=of.client)
    return await outcome(users.verifications.ConsumeVerification(request))


async def verify_email(users: Stubs, of: Visitor) -> str:
    """Try a wrong secret of EMAIL_VERIFICATION."""
    request = pb.VerifyEmailRequest(secret=code(of.user.email, "none"), client=of.client)
    return await outcome(users.verifications.VerifyEmail(request))


async def reset_password(users: Stubs, of: Visitor) -> str:
    """Try a wrong secret of PASSWORD_RESET."""
    request = pb.ResetPasswordRequest(secret=code(of.user.email, "none"), new_password=PASSWORD, client=of.client)
    return await outcome(users.verifications.ResetPassword(request))


async def change_email(users: Stubs, of: Visitor) -> str:
    """Try a wrong secret of EMAIL_CHANGE."""
    request = pb.ChangeEmailRequest(secret=code(of.user.email, "none"), user_id=of.user.id, client=of.client)
    return await outcome(users.verifications.ChangeEmail(request))


async def sign_in_with_verification(users: Stubs, of: Visitor) -> str:
    """Try a wrong secret of SIGN_IN."""
    request = pb.SignInWithVerificationRequest(secret=code(of.user.email, "none"), client=of.client)
    return await outcome(users.verifications.SignInWithVerification(request))


async def sign_up_with_verification(users: Stubs, of: Visitor) -> str:
    """Make a user of a proved address."""
    created = await verification(users, pb.VERIFICATION_PURPOSE_SIGN_IN, new_email())
    request = pb.SignInWithVerificationRequest(
        secret=secret_of(created), client=of.client, new_user=pb.SignInWithVerificationRequest.NewUser()
    )
    return await outcome(users.verifications.SignInWithVerification(request))


DOORS = [
    Door("SignIn", "", sign_in),
    Door("ChangePassword", "", change_password),
    Door("SignUp", "", sign_up, by_account=False),
    Door("SignInWithAccount", "", provider_sign_up, by_account=False),
    Door("SignInWithVerification", "of a new user", sign_up_with_verification, by_account=False),
    Door("SignInWithVerification", "", sign_in_with_verification),
    Door("ChangeEmail", "", change_email),
    Door("VerifyEmail", "", verify_email),
    Door("ResetPassword", "", reset_password),
    *(Door("CreateVerification", pb.VerificationPurpose.Name(value), partial(create, value)) for value in PURPOSES),
    *(Door("ConsumeVerification", pb.VerificationPurpose.Name(value), partial(consume, value)) for value in PURPOSES),
]
# Ways through one door: the same thing is asked for, and guessed at, by each. Whoever becomes a user by a secret passes
# the doors of both.
SAME = [
    {"SignUp", "SignInWithAccount", "SignInWithVerification of a new user"},
    {
        "SignInWithVerification",
        "ConsumeVerification VERIFICATION_PURPOSE_SIGN_IN",
        "SignInWithVerification of a new user",
    },
    {"ChangeEmail", "ConsumeVerification VERIFICATION_PURPOSE_EMAIL_CHANGE"},
    {"VerifyEmail", "ConsumeVerification VERIFICATION_PURPOSE_EMAIL_VERIFICATION"},
    {"ResetPassword", "ConsumeVerification VERIFICATION_PURPOSE_PASSWORD_RESET"},
]
BY_ACCOUNT = [door for door in DOORS if door.by_account]


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server that allows three attempts of an account, under a clock that stands still."""
    limits: dict[str, Any] = {"attempts_per_account": LIMIT, "attempts_per_address": MANY, "log_level": "error"}
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, FrozenClock(), **limits) as served:
        yield served


@pytest.fixture(scope="module")
def narrow_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A server on the same database that allows three attempts of an address."""
    limits: dict[str, Any] = {"attempts_per_account": MANY, "attempts_per_address": LIMIT, "log_level": "error"}
    with users_service(users_server.database, users_server.clock, **limits) as served:
        yield served


async def visitor(users: Stubs, number: int) -> Visitor:
    """Return somebody of whom no attempt was made."""
    return Visitor(await new_user(users, password=PASSWORD), f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1")


async def shut(door: Door, users: Stubs, of: Visitor) -> None:
    """Use up all attempts at a door."""
    ends = [await door.knock(users, of) for _ in range(LIMIT + 1)]
    assert ends[-1] == "RATE_LIMITED", ends
    assert "RATE_LIMITED" not in ends[:-1]


def behind(door: Door, doors: list[Door]) -> set[str]:
    """Return those of the doors that a shut one shuts."""
    return next((same for same in SAME if str(door) in same), {str(door)}) & set(map(str, doors))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("door", BY_ACCOUNT, ids=str)
async def test_who_locks_one_door_of_an_account_shuts_no_other(users: Stubs, door: Door) -> None:
    """Requests and wrong tries at one door use up nothing of the same person's other doors."""
    somebody = await visitor(users, BY_ACCOUNT.index(door) + 1)
    await shut(door, users, somebody)
    found = {str(other) for other in BY_ACCOUNT if await other.knock(users, somebody) == "RATE_LIMITED"}
    assert found == behind(door, BY_ACCOUNT)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("door", DOORS, ids=str)
async def test_who_locks_one_door_of_an_address_shuts_no_other(narrow_server: UsersServer, door: Door) -> None:
    """What comes from one office at one door keeps nobody there from the others."""
    async with narrow_server.aio_channel() as channel:
        users = Stubs.on(channel)
        somebody = await visitor(users, (1 << 16) + DOORS.index(door))
        await shut(door, users, somebody)
        found = {str(other) for other in DOORS if await other.knock(users, somebody) == "RATE_LIMITED"}
    assert found == behind(door, DOORS)


async def test_a_right_secret_of_one_purpose_gives_no_tries_of_another(users: Stubs) -> None:
    """Whoever consumes a sign-in code of an address has no more guesses at its reset code than before."""
    somebody = await visitor(users, 2 << 16)
    sign_in_code = await verification(users, pb.VERIFICATION_PURPOSE_SIGN_IN, somebody.user.email)
    await shut(next(door for door in DOORS if door.rpc == "ResetPassword"), users, somebody)
    request = pb.ConsumeVerificationRequest(
        purpose=pb.VERIFICATION_PURPOSE_SIGN_IN, secret=secret_of(sign_in_code), client=somebody.client
    )
    assert await outcome(users.verifications.ConsumeVerification(request)) == "OK"
    assert await reset_password(users, somebody) == "RATE_LIMITED"


async def test_a_new_password_opens_the_doors_that_guesses_at_the_old_one_shut(users: Stubs) -> None:
    """After a reset its user signs in and may change the password, however often the old one was guessed at."""
    somebody = await visitor(users, 3 << 16)
    for name in ("SignIn", "ChangePassword"):
        await shut(next(door for door in DOORS if door.rpc == name), users, somebody)
    created = await verification(users, pb.VERIFICATION_PURPOSE_PASSWORD_RESET, somebody.user.email)
    assert await outcome(users.verifications.ResetPassword(reset_request(created))) == "OK"
    assert await sign_in(users, somebody) == "CREDENTIALS_INVALID"
    assert await change_password(users, somebody) == "CREDENTIALS_INVALID"


def reset_request(created: pb.CreateVerificationResponse) -> pb.ResetPasswordRequest:
    """Make a request that sets the password with a right secret."""
    return pb.ResetPasswordRequest(secret=secret_of(created), new_password="another password of tests")


@pytest.mark.parametrize("kind", [pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN])
@pytest.mark.parametrize("guessed", PURPOSES)
async def test_wrong_tries_of_one_purpose_end_no_secret_of_another(
    narrow_server: UsersServer, guessed: pb.VerificationPurpose.ValueType, kind: pb.VerificationKind.ValueType
) -> None:
    """Five wrong tries end the secret of that purpose; what was sent to the address for the others stays good."""
    async with narrow_server.aio_channel() as channel:
        users, email = Stubs.on(channel), new_email()
        made = {purpose: await verification(users, purpose, email, kind) for purpose in PURPOSES}
        for _ in range(MAX_ATTEMPTS):
            assert await consumed(users, guessed, wrong(made[guessed])) == "VERIFICATION_INVALID"
        ends = {purpose: await consumed(users, purpose, secret_of(made[purpose])) for purpose in PURPOSES}
    assert ends == dict.fromkeys(PURPOSES, "OK") | {guessed: "VERIFICATION_ATTEMPTS_EXCEEDED"}


async def consumed(users: Stubs, purpose: pb.VerificationPurpose.ValueType, secret: pb.VerificationSecret) -> str:
    """Consume a secret."""
    return await outcome(users.verifications.ConsumeVerification(consume_request(purpose, secret)))


async def used(users: Stubs, created: pb.CreateVerificationResponse, of: Visitor) -> str:
    """Use a secret for what it is for."""
    secret, service = secret_of(created), users.verifications
    if created.verification.purpose == pb.VERIFICATION_PURPOSE_PASSWORD_RESET:
        return await outcome(service.ResetPassword(reset_request(created)))
    if created.verification.purpose == pb.VERIFICATION_PURPOSE_SIGN_IN:
        return await outcome(service.SignInWithVerification(pb.SignInWithVerificationRequest(secret=secret)))
    if created.verification.purpose == pb.VERIFICATION_PURPOSE_EMAIL_CHANGE:
        return await outcome(service.ChangeEmail(pb.ChangeEmailRequest(secret=secret, user_id=of.user.id)))
    return await outcome(service.VerifyEmail(pb.VerifyEmailRequest(secret=secret)))


@pytest.mark.parametrize("purpose", PURPOSES, ids=pb.VerificationPurpose.Name)
async def test_whoever_is_shut_out_gets_in_by_the_last_link(
    users: Stubs, purpose: pb.VerificationPurpose.ValueType
) -> None:
    """Somebody asks until nobody can ask, and guesses until no code is taken: the last link in the mailbox is good."""
    ann = await visitor(users, (4 << 16) + purpose)
    named = {"user_id": ann.user.id} if purpose == pb.VERIFICATION_PURPOSE_EMAIL_CHANGE else {}
    asked = partial(verification, users, purpose, ann.user.email, pb.VERIFICATION_KIND_TOKEN, **named)
    links = [await asked() for _ in range(LIMIT)]
    assert await outcome(asked()) == "RATE_LIMITED"
    for name in ("ConsumeVerification", "SignIn", "ChangePassword"):
        purposeful = pb.VerificationPurpose.Name(purpose) if name == "ConsumeVerification" else ""
        await shut(next(door for door in DOORS if (door.rpc, door.name) == (name, purposeful)), users, ann)
    for older in links[:-1]:
        assert await used(users, older, ann) == "VERIFICATION_INVALID"
    assert await used(users, links[-1], ann) == "OK"


async def test_other_users_tries_at_ones_new_address_leave_the_link(users: Stubs) -> None:
    """Mallory asks for the address that Ann wants, as a user of his own, until both doors of that mailbox are shut."""
    ann, mallory = await visitor(users, 5 << 16), await visitor(users, (5 << 16) + 1)
    purpose, wanted = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE, new_email()
    link = await verification(users, purpose, wanted, pb.VERIFICATION_KIND_TOKEN, user_id=ann.user.id)
    for _ in range(LIMIT - 1):
        of_mallory = await verification(users, purpose, wanted, user_id=mallory.user.id)
    request = pb.ChangeEmailRequest(secret=wrong(of_mallory), user_id=mallory.user.id)
    tries = [await outcome(users.verifications.ChangeEmail(request)) for _ in range(LIMIT + 1)]
    assert tries == ["VERIFICATION_INVALID"] * LIMIT + ["RATE_LIMITED"]
    assert await outcome(verification(users, purpose, wanted, user_id=ann.user.id)) == "RATE_LIMITED"
    assert await used(users, link, ann) == "OK"


def test_every_limited_rpc_is_a_door_here() -> None:
    """An RPC that may answer RATE_LIMITED, and is not tried above, might share the counter of another."""
    limited = set()
    for path in (ROOT / "protos/vibework/users/v1").glob("*_service.proto"):
        for comment, rpc in RPC.findall(path.read_text()):
            if "RATE_LIMITED" in comment or "As ConsumeVerification" in comment:
                limited.add(rpc)
    assert limited == {door.rpc for door in DOORS}
