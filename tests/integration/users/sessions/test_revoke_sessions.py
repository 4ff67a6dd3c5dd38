"""`users-service revoke-sessions`: the sessions of one user, or of everyone, are worth nothing from then on."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from click.testing import CliRunner, Result
from vibework.users.v1 import session_service_pb2 as pb

from chassis.clock import utc_now
from tests.harness.users import SECRET_KEYS, Stubs, UsersServer, reason
from users_service.cli import main
from users_service.mysql.database import Database
from users_service.sessions.mass_revocation import Ended, revoke_everyone


async def sign_up(users: Stubs, email: str) -> tuple[str, str]:
    """Sign up; return the user's id and token."""
    answer = await users.sessions.SignUp(pb.SignUpRequest(email=email, password="correct horse battery"))
    return answer.user.id, answer.session_token


async def works(users: Stubs, token: str) -> bool:
    """Say whether a token is that of a live session."""
    try:
        await users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))
    except grpc.aio.AioRpcError as error:
        if reason(error) != "SESSION_INVALID":
            raise
        return False
    return True


async def revoke(server: UsersServer, *arguments: str) -> Result:
    """Run the command on the server's database."""
    environment = {**server.database.environment(), "SECRET_KEYS": SECRET_KEYS}
    return await asyncio.to_thread(CliRunner().invoke, main, ["revoke-sessions", *arguments], env=environment)


async def test_one_users_sessions_end_and_no_others(users: Stubs, users_server: UsersServer) -> None:
    """A user whose token leaked is signed out everywhere at once; nobody else notices."""
    ada, token = await sign_up(users, "ada@example.com")
    second = await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=ada))
    _, other = await sign_up(users, "bob@example.com")
    done = await revoke(users_server, "--user", ada)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 sessions ended")
    assert [await works(users, each) for each in (token, second.session_token, other)] == [False, False, True]


async def test_everyone_is_signed_out_and_may_come_back(users: Stubs, users_server: UsersServer) -> None:
    """After --everyone no token of before works, whoever signs in again is in, and a second run finds nothing left."""
    tokens = [(await sign_up(users, f"user{number}@example.com"))[1] for number in range(3)]
    done = await revoke(users_server, "--everyone")
    assert done.exit_code == 0
    assert [await works(users, token) for token in tokens] == [False] * 3
    sign_in = pb.SignInRequest(email="user1@example.com", password="correct horse battery")
    again = await users.sessions.SignIn(sign_in)
    assert await works(users, again.session_token)


async def test_sessions_of_every_batch_end(users: Stubs, users_server: UsersServer) -> None:
    """More sessions than fit into one transaction all end, each counted once."""
    user_id, _ = await sign_up(users, "many@example.com")
    for _ in range(6):
        await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user_id))
    live = users_server.rows("SELECT COUNT(*) FROM sessions WHERE revoked_at IS NULL")[0][0]
    looked_at: list[int] = []
    async with Database(users_server.settings) as database:
        assert await revoke_everyone(database, utc_now(), looked_at.append, batch=2) == Ended(live)
        assert live >= 7
        assert await revoke_everyone(database, utc_now(), looked_at.append, batch=2) == Ended(0)
    assert max(looked_at) == 2
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE revoked_at IS NULL") == [(0,)]


@pytest.mark.long
async def test_a_session_that_others_hold_keeps_no_other_alive(users: Stubs, users_server: UsersServer) -> None:
    """In an incident all that can end ends; what is locked is named, and ends with the next run."""
    user_id, _ = await sign_up(users, "held@example.com")
    made = [await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user_id)) for _ in range(5)]
    held = made[2].session.id
    with users_server.holding("SELECT * FROM sessions WHERE id = %s FOR UPDATE", held):
        done = await revoke(users_server, "--everyone")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, "5 sessions ended")
    left = f"1 sessions left: other transactions hold them; run this again: {held}"
    assert done.stderr.splitlines()[-1] == left
    assert users_server.rows("SELECT id FROM sessions WHERE revoked_at IS NULL") == [(held,)]
    done = await revoke(users_server, "--everyone")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 sessions ended")


@pytest.mark.parametrize("arguments", [[], ["--user", "user_1", "--everyone"]])
async def test_whose_sessions_must_be_said(users_server: UsersServer, arguments: list[str]) -> None:
    """Nobody signs everyone out by leaving an option away."""
    done = await revoke(users_server, *arguments)
    assert (done.exit_code, "--everyone" in done.stderr) == (2, True)
