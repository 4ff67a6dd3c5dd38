"""A database that dies between two statements burns no secret: what it is for is done with it, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.context import calls, statements
from chassis.telemetry.queries import Queries
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import in_own_thread
from tests.harness.statements import connections, end_connection
from tests.harness.users import BlockingStubs, UsersServer, reason, users_service

PASSWORD: Final = "a password of tests"
VERIFY, RESET = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION, pb.VERIFICATION_PURPOSE_PASSWORD_RESET
SIGN_IN, EMAIL_CHANGE = pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
# Attempts are counted before the secret is looked at, whatever becomes of the call; events get their place in the order
# afterwards, by nobody's call.
LEFT_OUT: Final = {"attempt_counters", "alembic_version", "event_sequence"}
COLUMNS: Final = {"user_events": "id, user_id, kind, revision, session_id, occurred_at"}

# In which transaction of a call, and after which of its statements.
Place = tuple[int, int]


@dataclass
class Executioner:
    """Ends every connection to the database once a call has carried out a certain statement; each time it does."""

    kill: Callable[[], None]
    method: str = ""
    at: Place | None = None
    # The statements that the call has carried out, by place.
    seen: dict[Place, str] = field(default_factory=dict)
    _next: Place = (0, 0)

    def watch(self, method: str, at: Place | None) -> None:
        """Look at the calls of a method from now on; ``at``: None only looks."""
        self.method, self.at, self.seen, self._next = method, at, {}, (0, 0)

    def ended(self, operation: str, failure: str) -> None:
        """Hear of a statement that has ended."""
        served = calls.current()
        if failure or served is None or served.method.rpartition("/")[2] != self.method:
            return
        transaction, number = self._next
        if operation == "COMMIT":
            self._next = transaction + 1, 0
            return
        self.seen[self._next], self._next = statements.current(), (transaction, number + 1)
        if (transaction, number) == self.at:
            # The transaction begins anew, and comes here again.
            self._next = transaction, 0
            self.kill()


@pytest.fixture
def server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server whose health is of no interest, so that calls alone find the connections dead."""
    limits: dict[str, Any] = {"attempts_per_account": 1_000_000, "health_interval_ms": 60_000, "log_level": "error"}
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, **limits) as served:
        yield served


@pytest.fixture
def executioner(server: UsersServer, monkeypatch: pytest.MonkeyPatch) -> Executioner:
    """Stand behind every statement of the server."""

    async def kill() -> None:
        for each in await connections(server.database):
            await end_connection(server.database, each.id)

    found, ended = Executioner(partial(in_own_thread, kill)), Queries.ended

    def stood_behind(self: Queries, started: float, operation: str, shapes: Any, **told: Any) -> None:
        ended(self, started, operation, shapes, **told)
        found.ended(operation, told.get("failure", ""))

    monkeypatch.setattr(Queries, "ended", stood_behind)
    return found


@dataclass
class Scene:
    """A user with a password, a session and a provider's account, whose address was never proved."""

    stubs: BlockingStubs
    email: str
    user_id: str

    def secret(self, purpose: Any, identifier: str, user_id: str = "") -> pb.VerificationSecret:
        """Have a token made."""
        wanted = pb.CreateVerificationRequest(
            purpose=purpose, identifier=identifier, kind=pb.VERIFICATION_KIND_TOKEN, user_id=user_id
        )
        return pb.VerificationSecret(token=self.stubs.verifications.CreateVerification(wanted).secret)


def scene(stubs: BlockingStubs) -> Scene:
    """Make a scene of its own."""
    email = f"{uuid4().hex}@example.com"
    user = stubs.users.CreateUser(users_pb.CreateUserRequest(email=email, password=PASSWORD)).user
    stubs.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user.id))
    account = accounts_pb.ProviderAccount(provider="google", account_id=email)
    stubs.accounts.LinkAccount(accounts_pb.LinkAccountRequest(user_id=user.id, account=account))
    return Scene(stubs, email, user.id)


def verify_email(some: Scene) -> Any:
    """Verify the address."""
    return pb.VerifyEmailRequest(secret=some.secret(VERIFY, some.email))


def reset_password(some: Scene) -> Any:
    """Reset the password, which proves the address for the first time."""
    return pb.ResetPasswordRequest(secret=some.secret(RESET, some.email), new_password=f"new {PASSWORD}")


def change_email(some: Scene) -> Any:
    """Change the address."""
    secret = some.secret(EMAIL_CHANGE, f"{uuid4().hex}@example.com", some.user_id)
    return pb.ChangeEmailRequest(secret=secret, user_id=some.user_id)


def sign_in(some: Scene) -> Any:
    """Sign in, which proves the address for the first time."""
    secret = some.secret(SIGN_IN, some.email)
    return pb.SignInWithVerificationRequest(secret=secret, request_id=str(uuid4()))


def sign_up(some: Scene) -> Any:
    """Sign in with an address that nobody has."""
    secret = some.secret(SIGN_IN, f"{uuid4().hex}@example.com")
    new = pb.SignInWithVerificationRequest.NewUser(name="Ann")
    return pb.SignInWithVerificationRequest(secret=secret, new_user=new, request_id=str(uuid4()))


ACTS: Final = [verify_email, reset_password, change_email, sign_in, sign_up]


def content(server: UsersServer) -> dict[str, list[Any]]:
    """Return all rows of all tables that an act may write."""
    tables = [name for (name,) in server.rows("SHOW TABLES") if name not in LEFT_OUT]
    selected = {name: f"SELECT {COLUMNS.get(name, '*')} FROM `{name}`" for name in tables}
    return {name: sorted(server.rows(statement), key=repr) for name, statement in selected.items()}


def ends(stubs: BlockingStubs, request: Any) -> str:
    """Call the RPC of a request, and return how it ends."""
    try:
        getattr(stubs.verifications, method_of(request))(request)
    except grpc.RpcError as error:
        return reason(error)
    return "OK"


def method_of(request: Any) -> str:
    """Return the RPC that takes a request."""
    return str(request.DESCRIPTOR.name).removesuffix("Request")


@pytest.mark.parametrize("act", ACTS)
def test_a_database_that_dies_between_two_statements_burns_nothing(
    server: UsersServer, executioner: Executioner, act: Callable[[Scene], Any]
) -> None:
    """After each statement in turn, and before the commit: no row has changed, and the same secret works afterwards."""
    with server.channel() as channel:
        stubs = BlockingStubs.on(channel)
        request = act(scene(stubs))
        executioner.watch(method_of(request), None)
        assert ends(stubs, request) == "OK"
        places = [place for place in executioner.seen if place[0] == max(executioner.seen)[0]]
        assert "verifications.attempt" in executioner.seen.values()
        assert len(places) > 5
        for place in places:
            request = act(scene(stubs))
            before = content(server)
            executioner.watch(method_of(request), place)
            assert ends(stubs, request) == "DATABASE_UNAVAILABLE", executioner.seen
            assert content(server) == before, executioner.seen
            executioner.watch("", None)
            assert ends(stubs, request) == "OK"
            if not getattr(request, "request_id", ""):
                assert ends(stubs, request) == "VERIFICATION_INVALID"
