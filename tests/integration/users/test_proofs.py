"""No secret outlives what it proved: the password, the address and the state of its user (decision 0060)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import argon2
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb
from vibework.users.v1.imported_user_pb2 import ImportedUser

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.lock_waits import patient_locks
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    consume_request,
    link,
    new_email,
    new_session,
    new_user,
    outcome,
    provider_account,
    secret_of,
    sign_in_request,
    signs_in,
    unlink_request,
    verification,
)

NEW: Final = "another password of tests"
RESET: Final = pb.VERIFICATION_PURPOSE_PASSWORD_RESET
SIGN_IN: Final = pb.VERIFICATION_PURPOSE_SIGN_IN
VERIFY: Final = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
EMAIL_CHANGE: Final = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
# Both forms of the secret, whatever order the purposes come in.
PURPOSES: Final = {VERIFY: TOKEN, RESET: TOKEN, SIGN_IN: CODE, EMAIL_CHANGE: CODE}

# In which what does not wait would be done.
MEANWHILE_SECONDS = 0.3


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server that limits nobody: no secret here may be refused for the number of attempts."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    with (
        patient_locks(),
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **unlimited) as served,
    ):
        yield served


@dataclass
class Somebody:
    """A user with a password, and the address that it may change to."""

    users: Stubs
    user: user_pb2.User
    next_email: str

    @property
    def email(self) -> str:
        """The address at first."""
        return self.user.email

    async def update(self, **fields: Any) -> user_pb2.User:
        """Change fields of the user."""
        mask = FieldMask(paths=[name for name in fields if name != "etag"])
        response = await self.users.users.UpdateUser(
            users_pb.UpdateUserRequest(user=user_pb2.User(id=self.user.id, **fields), update_mask=mask)
        )
        user: user_pb2.User = response.user
        return user


async def change_password(some: Somebody) -> None:
    """Change the password."""
    await some.users.accounts.ChangePassword(change_request(some.user.id))


async def set_imported_password(some: Somebody) -> None:
    """Take the password away, then import another one: what was sent in between is from before."""
    await remove_password(some)
    for purpose, kind in PURPOSES.items():
        await verification(some.users, purpose, some.email, kind)
    hashed = argon2.PasswordHasher(1, 8 * 1024, 1).hash(NEW)
    await some.users.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=some.user.id, password_hash=hashed))


async def remove_password(some: Somebody) -> None:
    """Unlink the account that holds the password; a provider's stays."""
    await link(some.users, some.user.id)
    (credential,) = [item for item in await accounts_of(some.users, some.user.id) if item.provider == "credential"]
    await some.users.accounts.UnlinkAccount(unlink_request(credential))


async def reset_password(some: Somebody) -> None:
    """Reset the password with the newest secret for it, which takes the place of the one before."""
    created = await verification(some.users, RESET, some.email, TOKEN)
    await some.users.verifications.ResetPassword(reset_request(created))


async def change_address(some: Somebody) -> None:
    """Change the address."""
    await some.update(email=some.next_email)


async def change_address_and_back(some: Somebody) -> None:
    """Change the address, and change it back: what was sent before the first change does not revive."""
    await some.update(email=some.next_email)
    await some.update(email=some.email)


async def change_address_with_etag(some: Somebody) -> None:
    """Change the address as a guarded update beside other fields."""
    await some.update(email=some.next_email, name="Ann", email_verified=True, etag=some.user.etag)


async def change_address_by_secret(some: Somebody) -> None:
    """Change the address by a secret that was sent there."""
    created = await verification(some.users, EMAIL_CHANGE, some.next_email, TOKEN, user_id=some.user.id)
    await changing(some.users, created, some.user.id)


async def prove_address(some: Somebody) -> None:
    """Sign in by a secret for the first time, which ends the password."""
    created = await verification(some.users, SIGN_IN, some.email, TOKEN)
    request = pb.SignInWithVerificationRequest(secret=secret_of(created))
    await some.users.verifications.SignInWithVerification(request)


async def delete(some: Somebody) -> None:
    """Delete the user."""
    await some.users.users.DeleteUser(users_pb.DeleteUserRequest(id=some.user.id))


async def delete_and_sign_up_again(some: Somebody) -> None:
    """Delete the user, whose address signs up again."""
    await delete(some)
    await some.users.sessions.SignUp(sessions_pb.SignUpRequest(email=some.email, password=NEW))


async def delete_and_import_again(some: Somebody) -> None:
    """Delete the user, who comes in again from another system, with the same id, address and a password."""
    await delete(some)
    hashed = argon2.PasswordHasher(1, 8 * 1024, 1).hash(PASSWORD)
    again = ImportedUser(id=some.user.id, email=some.email, email_verified=True, password_hash=hashed)
    outcomes = (await some.users.users.ImportUsers(users_pb.ImportUsersRequest(users=[again]))).outcomes
    assert [outcome.result for outcome in outcomes] == [users_pb.IMPORT_RESULT_IMPORTED]


async def delete_after_change(some: Somebody) -> None:
    """Change the address, let secrets be sent to it, and delete the user."""
    await change_address(some)
    for purpose, kind in PURPOSES.items():
        await verification(some.users, purpose, some.next_email, kind)
    await delete(some)


async def disable(some: Somebody) -> None:
    """Disable the user."""
    await some.users.users.DisableUser(users_pb.DisableUserRequest(id=some.user.id))


async def disable_and_enable(some: Somebody) -> None:
    """Disable the user, and enable it: what was sent before does not revive."""
    await disable(some)
    await some.users.users.EnableUser(users_pb.EnableUserRequest(id=some.user.id))


CHANGES: Final = [
    change_password,
    set_imported_password,
    remove_password,
    reset_password,
    change_address,
    change_address_and_back,
    change_address_with_etag,
    change_address_by_secret,
    prove_address,
    delete,
    delete_and_sign_up_again,
    delete_and_import_again,
    delete_after_change,
    disable,
    disable_and_enable,
]
# Those that take the user to ``next_email``.
MOVES: Final = [
    change_address,
    change_address_and_back,
    change_address_with_etag,
    change_address_by_secret,
    delete_after_change,
]


def change_request(user_id: str, current: str = PASSWORD) -> accounts_pb.ChangePasswordRequest:
    """Make a request to change a password."""
    return accounts_pb.ChangePasswordRequest(user_id=user_id, current_password=current, new_password=NEW)


def reset_request(created: pb.CreateVerificationResponse) -> pb.ResetPasswordRequest:
    """Make a request to reset a password."""
    return pb.ResetPasswordRequest(secret=secret_of(created), new_password=f"reset {NEW}")


def ways_to_use(users: Stubs, created: pb.CreateVerificationResponse) -> Iterator[Awaitable[Any]]:
    """Yield a call of every RPC that takes a secret of this purpose."""
    purpose, secret = created.verification.purpose, secret_of(created)
    if purpose == RESET:
        yield users.verifications.ResetPassword(reset_request(created))
    if purpose == VERIFY:
        yield users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret))
    yield users.verifications.ConsumeVerification(consume_request(purpose, secret))
    if purpose == SIGN_IN:
        yield users.verifications.SignInWithVerification(pb.SignInWithVerificationRequest(secret=secret))


def changing(users: Stubs, created: pb.CreateVerificationResponse, user_id: str) -> Awaitable[Any]:
    """Call ChangeEmail."""
    return users.verifications.ChangeEmail(pb.ChangeEmailRequest(secret=secret_of(created), user_id=user_id))


async def asked_by(some: Somebody, *addresses: str) -> list[pb.CreateVerificationResponse]:
    """Make secrets for a change of the user's to each address, of both kinds."""
    wanted = [(email, kind) for email in addresses for kind in (CODE, TOKEN)]
    return [await verification(some.users, EMAIL_CHANGE, *each, user_id=some.user.id) for each in wanted]


async def somebody(users: Stubs) -> Somebody:
    """Make a user with a password."""
    return Somebody(users, await new_user(users, password=PASSWORD), new_email())


async def secrets_for(users: Stubs, *addresses: str) -> list[pb.CreateVerificationResponse]:
    """Make a secret of every purpose for each address."""
    wanted = [(purpose, email, kind) for email in addresses for purpose, kind in PURPOSES.items()]
    return [await verification(users, *each) for each in wanted]


async def all_are_good(users: Stubs, secrets: list[pb.CreateVerificationResponse]) -> None:
    """Use each secret for what it is for; the reset last, since it voids the others."""
    for created in sorted(secrets, key=lambda item: item.verification.purpose == RESET):
        assert await outcome(next(ways_to_use(users, created))) == "OK"


async def status(call: Awaitable[Any]) -> tuple[Any, ...]:
    """Return all that a caller is told of an error, but the id of the request."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details(), await outcome(_raising(failed.value))


async def _raising(error: grpc.aio.AioRpcError) -> None:
    raise error


@pytest.mark.sampled(5)
@pytest.mark.parametrize("change", CHANGES)
async def test_no_secret_outlives_a_change(
    users: Stubs, users_server: UsersServer, change: Callable[[Somebody], Awaitable[None]]
) -> None:
    """Whatever a secret was for, to the address before or to the one to come: afterwards it is like a wrong one."""
    some = await somebody(users)
    moves = change in MOVES
    before = await secrets_for(users, some.email, *([some.next_email] if moves else []))
    await change(some)
    never = pb.VerificationSecret(token=f"{'0' * 26}.{'A' * 43}")
    wrong = await status(users.verifications.ConsumeVerification(consume_request(SIGN_IN, never)))
    for created in before:
        for call in ways_to_use(users, created):
            assert await status(call) == wrong
    ids = {created.verification.id for created in before}
    left = {row[0] for row in users_server.rows("SELECT id FROM verifications WHERE consumed_at IS NULL")}
    assert not ids & left


@pytest.mark.sampled(5)
@pytest.mark.parametrize("change", CHANGES)
async def test_no_change_of_address_that_was_asked_for_outlives_a_change(
    users: Stubs, users_server: UsersServer, change: Callable[[Somebody], Awaitable[None]]
) -> None:
    """To whatever address the user had asked to change, that one or another: it is like a wrong secret afterwards."""
    some = await somebody(users)
    before = await asked_by(some, new_email(), some.next_email, some.email)
    await change(some)
    never = pb.VerificationSecret(token=f"{'0' * 26}.{'A' * 43}")
    wrong = await status(users.verifications.ChangeEmail(pb.ChangeEmailRequest(secret=never, user_id=some.user.id)))
    for created in before:
        assert await status(changing(users, created, some.user.id)) == wrong
    assert users_server.rows("SELECT id FROM verifications WHERE user_id = %s", some.user.id) == []


@pytest.mark.sampled(5)
@pytest.mark.parametrize("change", CHANGES)
async def test_what_becomes_of_others_ends_nobodys_change_of_address(
    users: Stubs, change: Callable[[Somebody], Awaitable[None]]
) -> None:
    """Whoever has, takes or leaves the address: what was sent there for another user is about that user."""
    some, other = await somebody(users), await somebody(users)
    asked = await asked_by(other, some.email, some.next_email)
    await change(some)
    ends = [await outcome(changing(users, created, other.user.id)) for created in asked]
    # The first that succeeds ends those that the same user has asked for.
    assert set(ends) <= {"OK", "EMAIL_TAKEN", "VERIFICATION_INVALID"}
    assert "VERIFICATION_INVALID" not in ends[: ends.index("OK")]


async def test_a_secret_from_after_the_change_is_good(users: Stubs) -> None:
    """Void is what was sent before, not what is sent to the same or to the new address afterwards."""
    for change, where in (
        (change_password, "email"),
        (change_address, "next_email"),
        (change_address_by_secret, "next_email"),
        (prove_address, "email"),
        (reset_password, "email"),
        (disable, "email"),
    ):
        some = await somebody(users)
        await change(some)
        await all_are_good(users, await secrets_for(users, getattr(some, where)))


async def no_change(some: Somebody) -> None:
    """Do everything that leaves password, address and state as they are, or fails to change them."""
    users, user_id = some.users, some.user.id
    await some.update(name="Ann", image="https://example.com/a.png")
    await some.update(email=some.email.upper())
    await some.update(email_verified=True)
    await new_session(users, user_id)
    assert await signs_in(users, some.email, PASSWORD) == "OK"
    await users.sessions.RevokeAllSessions(sessions_pb.RevokeAllSessionsRequest(user_id=user_id))
    account = await link(users, user_id)
    await users.accounts.UnlinkAccount(unlink_request(account))
    await users.accounts.SignInWithAccount(sign_in_request(provider_account(), some.email))
    taken = await new_user(users)
    assert await outcome(some.update(email=taken.email)) == "EMAIL_TAKEN"
    assert await outcome(some.update(email=some.next_email, etag='"99"')) == "ETAG_MISMATCH"
    assert await outcome(users.accounts.ChangePassword(change_request(user_id, "wrong"))) == "CREDENTIALS_INVALID"
    set_again = accounts_pb.SetPasswordRequest(user_id=user_id, password=NEW)
    assert await outcome(users.accounts.SetPassword(set_again)) == "PASSWORD_ALREADY_SET"
    stale = users_pb.DeleteUserRequest(id=user_id, etag='"99"')
    assert await outcome(users.users.DeleteUser(stale)) == "ETAG_MISMATCH"


async def test_what_changes_nothing_voids_nothing(users: Stubs) -> None:
    """Other fields, another spelling, sign-ins, provider accounts and failed changes leave every secret good."""
    some = await somebody(users)
    before = await secrets_for(users, some.email)
    asked = await asked_by(some, some.next_email)
    await no_change(some)
    await all_are_good(users, before[:1])
    assert await outcome(changing(users, asked[0], "user_01jd0000000000000000000000")) == "VERIFICATION_INVALID"
    assert await outcome(changing(users, asked[1], some.user.id)) == "OK"


async def test_what_changes_nothing_leaves_each_secret_good(users: Stubs) -> None:
    """The same of what was made for no particular user."""
    some = await somebody(users)
    before = await secrets_for(users, some.email)
    await no_change(some)
    await all_are_good(users, before)


async def test_verifying_an_address_leaves_the_other_secrets(users: Stubs) -> None:
    """VerifyEmail changes neither password nor address nor state: it ends nothing but its own secret."""
    some = await somebody(users)
    verify, reset, sign_in, _ = await secrets_for(users, some.email)
    assert await outcome(users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret_of(verify)))) == "OK"
    assert await outcome(next(ways_to_use(users, sign_in))) == "OK"
    assert await outcome(next(ways_to_use(users, reset))) == "OK"


async def test_an_upgraded_hash_is_the_same_password(users: Stubs) -> None:
    """A sign-in that stores the same password under newer parameters leaves the links that were sent."""
    hashed = argon2.PasswordHasher(1, 8 * 1024, 1).hash(PASSWORD)
    response = await users.users.CreateUser(users_pb.CreateUserRequest(email=new_email(), password_hash=hashed))
    created = await verification(users, RESET, response.user.email, TOKEN)
    assert await signs_in(users, response.user.email, PASSWORD) == "OK"
    assert await outcome(users.verifications.ResetPassword(reset_request(created))) == "OK"


async def locked(server: UsersServer, user_id: str) -> None:
    """Wait until a transaction holds the user's row."""
    free = "SELECT id FROM users WHERE id = %s FOR UPDATE SKIP LOCKED"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await asyncio.to_thread(server.rows, free, user_id):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_nothing_is_made_or_consumed_in_the_middle_of_a_change(users: Stubs, users_server: UsersServer) -> None:
    """A change that is not committed yet keeps secrets of its user waiting: they come before it, or after it."""
    some = await somebody(users)
    await new_session(users, some.user.id)
    old = await verification(users, SIGN_IN, some.email, TOKEN)
    held = "SELECT id FROM sessions WHERE user_id = %s FOR UPDATE"
    with users_server.holding(held, some.user.id):
        # It ends the sessions last.
        change = asyncio.create_task(outcome(users.accounts.ChangePassword(change_request(some.user.id))))
        await locked(users_server, some.user.id)
        consuming = asyncio.create_task(outcome(next(ways_to_use(users, old))))
        creating = asyncio.create_task(verification(users, RESET, some.email, TOKEN))
        done, _ = await asyncio.wait([consuming, creating], timeout=MEANWHILE_SECONDS)
        assert not done
    assert await change == "OK"
    assert await consuming == "VERIFICATION_INVALID"
    assert await outcome(users.verifications.ResetPassword(reset_request(await creating))) == "OK"


async def storm(many: list[Stubs], some: Somebody, change: Callable[[Somebody], Awaitable[None]], width: int) -> None:
    """Let a change race with those who make and consume secrets; then nothing from before it is good."""
    old = await secrets_for(many[0], some.email)
    calls: list[Awaitable[str]] = []
    for number in range(width - 1):
        stubs, created = many[number % len(many)], old[number // 2 % len(old)]
        purpose, kind = created.verification.purpose, created.verification.kind
        if number % 2:
            calls.append(outcome(verification(stubs, purpose, some.email, kind)))
        else:
            request = consume_request(purpose, secret_of(created))
            calls.append(outcome(stubs.verifications.ConsumeVerification(request)))
    calls.insert(width // 2, outcome(change(some)))
    ends = await asyncio.gather(*calls)
    assert ends.pop(width // 2) == "OK"
    # A code that was replaced meanwhile is a wrong guess at the new one, and of these there are only so many.
    no_good = {"VERIFICATION_INVALID", "VERIFICATION_ATTEMPTS_EXCEEDED"}
    assert set(ends) <= {"OK", *no_good}
    for created in old:
        for call in ways_to_use(many[0], created):
            assert await outcome(call) in no_good


RACING: Final = [change_password, change_address, change_address_by_secret, prove_address, delete, disable]


@pytest.mark.parametrize("change", RACING)
async def test_16_calls_race_with_a_change(many: list[Stubs], change: Callable[[Somebody], Awaitable[None]]) -> None:
    """Making and consuming at once with a change: nobody is told to repeat, and what was there before is void."""
    await storm(many, await somebody(many[0]), change, 16)


@pytest.mark.long
@pytest.mark.parametrize("change", RACING)
async def test_64_calls_race_with_a_change(many: list[Stubs], change: Callable[[Somebody], Awaitable[None]]) -> None:
    """The same in a crowd."""
    for _ in range(3):
        await storm(many, await somebody(many[0]), change, 64)


async def test_of_a_reset_and_a_change_at_once_one_sets_the_password(many: list[Stubs]) -> None:
    """The link dies with the change, or the old password with the reset: never do both succeed."""
    for _ in range(3):
        some = await somebody(many[0])
        created = await verification(many[0], RESET, some.email, TOKEN)
        reset, changed, *signed_in = await asyncio.gather(
            outcome(many[0].verifications.ResetPassword(reset_request(created))),
            outcome(many[1].accounts.ChangePassword(change_request(some.user.id))),
            *(signs_in(many[number % 4], some.email, PASSWORD) for number in range(4)),
        )
        assert (reset, changed) in {("OK", "CREDENTIALS_INVALID"), ("VERIFICATION_INVALID", "OK")}
        assert set(signed_in) <= {"OK", "CREDENTIALS_INVALID"}
        winner = f"reset {NEW}" if reset == "OK" else NEW
        assert await signs_in(many[0], some.email, winner) == "OK"


async def test_an_address_verified_while_it_changes_does_not_verify_the_next(many: list[Stubs]) -> None:
    """Whatever the order, the new address is unverified, and the link to the old one is of no use any more."""
    for _ in range(4):
        some = await somebody(many[0])
        created = await verification(many[0], VERIFY, some.email, TOKEN)
        request = pb.VerifyEmailRequest(secret=secret_of(created))
        verified, changed = await asyncio.gather(
            outcome(many[0].verifications.VerifyEmail(request)), outcome(some.update(email=some.next_email))
        )
        assert changed == "OK"
        assert verified in {"OK", "VERIFICATION_INVALID"}
        read = await many[0].users.GetUser(users_pb.GetUserRequest(id=some.user.id))
        assert not read.user.email_verified
        assert await outcome(many[0].verifications.VerifyEmail(request)) == "VERIFICATION_INVALID"
