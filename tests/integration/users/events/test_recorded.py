"""Every place where a user changes records it, once, in the transaction that changes it."""

from __future__ import annotations

from datetime import timedelta

import bcrypt
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.contract import etags
from tests.harness.users import Stubs, UsersServer
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
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

NEW = "another password of tests"


def recorded(server: UsersServer, user_id: str) -> list[tuple[str, str]]:
    """Return the kinds and etags of what was recorded of a user, in order."""
    rows = server.rows("SELECT kind, revision FROM user_events WHERE user_id = %s ORDER BY id", user_id)
    return [(kind, "" if revision is None else etags.write(revision)) for kind, revision in rows]


async def etag_of(users: Stubs, user_id: str) -> str:
    """Return the etag of a user as it is now."""
    return str((await users.users.GetUser(users_pb.GetUserRequest(id=user_id))).user.etag)


async def test_creations_are_recorded_however_they_come(users: Stubs, users_server: UsersServer) -> None:
    """CreateUser, SignUp and a sign-in that creates: one event with the first etag; who is refused leaves none."""
    made = await new_user(users, password=PASSWORD)
    signed = await users.sessions.SignUp(sessions_pb.SignUpRequest(email=new_email(), password=PASSWORD))
    entered = await users.accounts.SignInWithAccount(sign_in_request(provider_account(), new_email()))
    for user in (made, signed.user, entered.user):
        assert recorded(users_server, user.id) == [("created", user.etag)]
    before = users_server.rows("SELECT COUNT(*) FROM user_events")
    again = users_pb.CreateUserRequest(email=made.email)
    assert await outcome(users.users.CreateUser(again)) == "EMAIL_TAKEN"
    assert users_server.rows("SELECT COUNT(*) FROM user_events") == before


async def test_a_repeated_request_records_once(users: Stubs, users_server: UsersServer) -> None:
    """The repeat of a SignUp gets the first answer, and nobody hears of it."""
    request = sessions_pb.SignUpRequest(
        email=new_email(), password=PASSWORD, request_id="0b9a9a70-5e5f-4d6d-9b3e-0a2a4f5d2f11"
    )
    first = await users.sessions.SignUp(request)
    assert await users.sessions.SignUp(request) == first
    assert recorded(users_server, first.user.id) == [("created", first.user.etag)]


async def test_changes_are_recorded_with_the_etag_after_them(users: Stubs, users_server: UsersServer) -> None:
    """UpdateUser and VerifyEmail; a change that is refused, or that finds the address verified, is none."""
    made = await new_user(users)
    request = users_pb.UpdateUserRequest(
        user=user_pb2.User(id=made.id, name="Ann"), update_mask=FieldMask(paths=["name"])
    )
    named = (await users.users.UpdateUser(request)).user
    request.user.etag = made.etag
    assert await outcome(users.users.UpdateUser(request)) == "ETAG_MISMATCH"
    purpose = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
    for _ in range(2):
        secret = secret_of(await verification(users, purpose, made.email))
        await users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret))
    last = await etag_of(users, made.id)
    assert recorded(users_server, made.id) == [("created", made.etag), ("changed", named.etag), ("changed", last)]


async def test_a_deletion_is_recorded_without_an_etag(users: Stubs, users_server: UsersServer) -> None:
    """Once; a deletion of nobody is none."""
    made = await new_user(users)
    for allow_missing in (False, True):
        await users.users.DeleteUser(users_pb.DeleteUserRequest(id=made.id, allow_missing=allow_missing))
    assert recorded(users_server, made.id) == [("created", made.etag), ("deleted", "")]


async def test_every_change_of_a_password_is_recorded(users: Stubs, users_server: UsersServer) -> None:
    """Set, changed, reset, removed; not the upgrade of a hash, nor an account of a provider that comes or goes."""
    made = await new_user(users)
    await users.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=made.id, password=PASSWORD))
    await users.accounts.ChangePassword(
        accounts_pb.ChangePasswordRequest(user_id=made.id, current_password=PASSWORD, new_password=NEW)
    )
    wrong = accounts_pb.ChangePasswordRequest(user_id=made.id, current_password=PASSWORD, new_password=NEW)
    assert await outcome(users.accounts.ChangePassword(wrong)) == "CREDENTIALS_INVALID"
    secret = secret_of(await verification(users, pb.VERIFICATION_PURPOSE_PASSWORD_RESET, made.email))
    await users.verifications.ResetPassword(pb.ResetPasswordRequest(secret=secret, new_password=PASSWORD))
    linked = await link(users, made.id)
    (password,) = [account for account in await accounts_of(users, made.id) if account.provider == "credential"]
    await users.accounts.UnlinkAccount(unlink_request(password))
    assert await outcome(users.accounts.UnlinkAccount(unlink_request(linked))) == "LAST_ACCOUNT"
    changes = [etag for kind, etag in recorded(users_server, made.id) if kind == "password_changed"]
    # A reset may prove the address, and with that change the user.
    assert len(changes) == 4
    assert changes[-1] == await etag_of(users, made.id)


async def test_the_upgrade_of_a_hash_is_no_event(users: Stubs, users_server: UsersServer) -> None:
    """A sign-in that replaces a hash of another system changes nothing that anybody follows."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    request = users_pb.CreateUserRequest(email=new_email(), password_hash=hashed)
    made = (await users.users.CreateUser(request)).user
    assert await signs_in(users, made.email, PASSWORD) == "OK"
    assert users_server.rows("SELECT password FROM accounts WHERE user_id = %s", made.id) != [(hashed,)]
    assert recorded(users_server, made.id) == [("created", made.etag)]


async def test_a_stolen_session_is_recorded_once_with_its_id(users: Stubs, users_server: UsersServer) -> None:
    """By whichever call the replaced token comes back; a session that has ended is not stolen again."""
    made = await new_user(users)
    stolen = []
    for end in (
        lambda token: users.sessions.ValidateSession(sessions_pb.ValidateSessionRequest(session_token=token)),
        lambda token: users.sessions.RevokeSession(sessions_pb.RevokeSessionRequest(session_token=token)),
    ):
        token = await new_session(users, made.id)
        request = sessions_pb.RefreshSessionRequest(session_token=token, rotate_token=True)
        stolen.append((await users.sessions.RefreshSession(request)).session.id)
        users_server.clock.advance(timedelta(minutes=2))
        for _ in range(2):
            await outcome(end(token))
    statement = "SELECT revision, session_id FROM user_events WHERE kind = 'session_stolen' ORDER BY id"
    assert users_server.rows(statement) == [(1, session_id) for session_id in stolen]


async def test_events_hold_no_personal_data(users: Stubs, users_server: UsersServer) -> None:
    """An id, a kind and a revision: no address, name or token stands in the table."""
    request = sessions_pb.SignUpRequest(email=f"Personal.{new_email()}", password=PASSWORD, name="Quirin Personal")
    signed = await users.sessions.SignUp(request)
    stored = repr(users_server.rows("SELECT * FROM user_events WHERE user_id = %s", signed.user.id))
    assert signed.user.id in stored
    for private in ("personal", "quirin", "example.com", signed.session_token.lower()):
        assert private not in stored.lower()
