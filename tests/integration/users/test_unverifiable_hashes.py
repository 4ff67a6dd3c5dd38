"""Stored hashes that nobody's password can be verified with, as of a database that was taken over."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from vibework.users.v1 import session_service_pb2, user_service_pb2

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import BlockingStubs, UsersServer, reason, users_service
from tests.integration.telemetry.scraping import metrics_port, scrape

STORED = {
    "an unknown format": "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
    "a cost beyond the limits": "$2b$20$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
}


@pytest.fixture
def served(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[tuple[UsersServer, int]]:
    """A server with its metrics, and their port."""
    port, metrics = metrics_port()
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, **metrics) as running:
        yield running, port


async def test_who_has_one_is_refused_like_a_wrong_password_and_counted(
    served: tuple[UsersServer, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer is that of a wrong password, in code and text; the log names the user alone, and a metric counts."""
    server, port = served
    with server.channel() as channel:
        stubs = BlockingStubs.on(channel)
        refusals = [sign_in(stubs, "known@example.com", known=True)]
        for number, (problem, stored) in enumerate(STORED.items(), 1):
            email = f"{number}@example.com"
            user = stubs.users.CreateUser(user_service_pb2.CreateUserRequest(email=email)).user
            server.rows("UPDATE users SET password_hash = %s WHERE id = %s", stored, user.id)
            capfd.readouterr()
            refusals.append(sign_in(stubs, email))
            written = "".join(capfd.readouterr())
            assert f"user_id={user.id}" in written, problem
            assert stored not in written
            assert (await scrape(port)).value("vibework_hashing_unverifiable_total") == number
    assert len({(error.code(), error.details(), reason(error)) for error in refusals}) == 1
    assert reason(refusals[0]) == "CREDENTIALS_INVALID"


def sign_in(stubs: BlockingStubs, email: str, *, known: bool = False) -> grpc.RpcError:
    """Sign in with a wrong password, as a user who has been created if ``known``; return the refusal."""
    if known:
        created = user_service_pb2.CreateUserRequest(email=email, password="correct horse battery")
        stubs.users.CreateUser(created)
    with pytest.raises(grpc.RpcError) as refusal:
        stubs.sessions.SignIn(session_service_pb2.SignInRequest(email=email, password="a wrong guess"))
    return refusal.value
