"""What a replica answers is what the primary would: nobody can tell which of the two was asked."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import event
from vibework.testing.local.ports import free_port
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import ClientContext

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import Stubs, users_service
from tests.integration.replicas.conftest import AN_HOUR, MAX_LAG_MS, Replicated, Serve, until
from tests.integration.telemetry.scraping import scrape
from users_service.replicas.staleness import METADATA_KEY

pytestmark = pytest.mark.xdist_group("replication")

WRITERS = 8
ROUNDS = 15
# So old may answers be that callers bear; time enough for a create and a read on any machine.
TOLERATED_MS = 4_000
SIGN_UP = sessions_pb.SignUpRequest(
    email="a@example.com", password="correct horse", client=ClientContext(user_agent="real")
)


async def create(stubs: Stubs, **fields: Any) -> str:
    """Create a user with an address of its own; return the address."""
    email = f"{uuid.uuid4().hex}@example.com"
    await stubs.users.CreateUser(pb.CreateUserRequest(email=email, **fields))
    return email


async def emails(stubs: Stubs, part: str = "", *, staleness: str | None = None) -> list[str]:
    """List addresses that end in ``part``."""
    metadata = () if staleness is None else ((METADATA_KEY, staleness),)
    wanted = pb.UserFilter(email_ends_with=part)
    return [user.email for user in (await stubs.users.ListUsers(_list(wanted), metadata=metadata)).users]


def waits_for(replicated: Replicated) -> list[str]:
    """Return a list to which every wait for the replica's transactions will be added."""
    waited: list[str] = []

    @event.listens_for(replicated.reads.replicas[0]._engine.sync_engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "GTID_WAIT" in statement:
            waited.append(statement)

    return waited


def _list(wanted: pb.UserFilter) -> pb.ListUsersRequest:
    return pb.ListUsersRequest(filter=wanted, page_size=100)


async def test_lists_and_counts_come_from_the_replica_and_point_reads_from_the_primary(replicated: Replicated) -> None:
    """Each read goes where the decision says: rows that differ on the replica show who answered."""
    async with replicated.stubs() as stubs:
        signed_up = await stubs.sessions.SignUp(SIGN_UP)
        id_ = signed_up.user.id
        replicated.mark("UPDATE users SET name = 'marked'")
        replicated.mark("UPDATE sessions SET user_agent = 'marked'")
        replicated.mark("UPDATE accounts SET account_id = 'marked'")
        listed = await stubs.users.ListUsers(pb.ListUsersRequest())
        sessions = await stubs.sessions.ListSessions(sessions_pb.ListSessionsRequest(user_id=id_))
        accounts = await stubs.accounts.ListAccounts(accounts_pb.ListAccountsRequest(user_id=id_))
        replicated.mark("DELETE FROM sessions")
        replicated.mark("DELETE FROM accounts")
        replicated.mark("DELETE FROM users")
        assert (await stubs.users.CountUsers(pb.CountUsersRequest())).count == 0
        got = await stubs.users.GetUser(pb.GetUserRequest(id=id_))
        many = await stubs.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=[id_]))
        await stubs.sessions.ValidateSession(
            sessions_pb.ValidateSessionRequest(session_token=signed_up.session_token, include_user=True)
        )
    assert [user.name for user in listed.users] == ["marked"]
    assert [session.user_agent for session in sessions.sessions] == ["marked"]
    assert [account.account_id for account in accounts.accounts] == ["marked"]
    assert got.user.name == many.users[0].name == ""


async def test_a_replica_that_caught_up_answers_every_read_alike(replicated: Replicated) -> None:
    """Two servers, one with and one without the replica, give the same bytes."""
    database = replicated.database
    async with replicated.stubs() as stubs:
        for number in range(30):
            await create(stubs, name=f"user {number}", email_verified=number % 3 == 0)
        signed_up = await stubs.sessions.SignUp(SIGN_UP)
        id_ = signed_up.user.id
        changed = pb.UserFilter(ids=[id_, "nobody"], updated_after=signed_up.user.created_at)
        with users_service(database) as plain:
            async with plain.aio_channel() as channel:
                for which in (stubs, Stubs.on(channel)):
                    await which.users.CountUsers(pb.CountUsersRequest())
                questions = [
                    ("users", "ListUsers", pb.ListUsersRequest(page_size=50, include_total=True)),
                    (
                        "users",
                        "ListUsers",
                        pb.ListUsersRequest(
                            filter=pb.UserFilter(email_verified=True), order=pb.USER_ORDER_CREATED_AT_ASC
                        ),
                    ),
                    ("users", "CountUsers", pb.CountUsersRequest(filter=pb.UserFilter(email_ends_with="example.com"))),
                    ("users", "ListUsers", pb.ListUsersRequest(filter=changed, order=pb.USER_ORDER_UPDATED_AT_ASC)),
                    ("users", "CountUsers", pb.CountUsersRequest(filter=changed)),
                    ("accounts", "ListAccounts", accounts_pb.ListAccountsRequest(user_id=id_)),
                    ("sessions", "ListSessions", sessions_pb.ListSessionsRequest(user_id=id_)),
                ]
                before = replicated.reads.replicas[0].reads
                for service, method, request in questions:
                    mine, theirs = [
                        await getattr(getattr(which, service), method)(request) for which in (stubs, Stubs.on(channel))
                    ]
                    assert mine == theirs
    assert replicated.reads.replicas[0].reads - before == len(questions)


async def test_whoever_wrote_reads_it_while_the_replica_is_kept_busy(replicated: Replicated) -> None:
    """Read your writes, and those that others were told of, under load; the replica answers its share."""

    async def write_and_read(stubs: Stubs) -> None:
        for _ in range(ROUNDS):
            email = await create(stubs)
            assert await emails(stubs, email) == [email]

    async with replicated.stubs() as stubs:
        await asyncio.gather(*(write_and_read(stubs) for _ in range(WRITERS)))
    assert replicated.reads.replicas[0].reads > WRITERS * ROUNDS // 2


async def test_whoever_wrote_reads_it_while_the_replica_is_far_behind(replicated: Replicated) -> None:
    """A replica that is always late is waited for once, not once per call, and the primary answers."""
    replicated.pair.follow(delay=AN_HOUR)
    waited = waits_for(replicated)
    async with replicated.stubs() as stubs:
        for _ in range(40):
            email = await create(stubs)
            assert await emails(stubs, email) == [email]
    # How often it is out of use meanwhile is for its checks to say.
    assert replicated.reads.fallbacks["behind"]
    assert set(replicated.reads.fallbacks) <= {"behind", "none in use"}
    assert replicated.reads.fallbacks.total() == 40
    assert len(waited) == 1


async def test_a_replica_that_stops_goes_out_of_use_and_comes_back(replicated: Replicated) -> None:
    """Replication stopped and resumed: no read is wrong meanwhile, and the replica serves again at the end."""
    async with replicated.stubs() as stubs:
        await create(stubs)
        assert len(await emails(stubs)) == 1
        replicated.pair.stop_applying()
        await create(stubs)
        assert len(await emails(stubs)) == 2
        replicated.bear(MAX_LAG_MS / 1000)
        await until(lambda: not replicated.used())
        assert len(await emails(stubs)) == 2
        replicated.bear(AN_HOUR)
        replicated.pair.follow()
        replicated.pair.catch_up()
        await until(replicated.used)
        before = replicated.reads.replicas[0].reads
        assert len(await emails(stubs)) == 2
    assert replicated.reads.replicas[0].reads == before + 1


@pytest.mark.long
async def test_who_says_so_gets_an_old_answer_but_never_beyond_the_limit(serve: Serve) -> None:
    """The metadata asks for no more than the operator allows, and what is no number is no permission."""
    with serve(mysql_replica_max_lag_ms=TOLERATED_MS) as replicated:
        await until(replicated.used)
        async with replicated.stubs() as stubs:
            await _see_old_answers(replicated, stubs)


async def _see_old_answers(replicated: Replicated, stubs: Stubs) -> None:
    replicated.pair.catch_up()
    replicated.pair.stop_applying()
    await create(stubs)
    assert await emails(stubs, staleness="60000") == []
    assert len(await emails(stubs, staleness="0")) == 1
    assert len(await emails(stubs, staleness="-5s")) == 1
    assert len(await emails(stubs)) == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await emails(stubs, staleness="60000") == []:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


async def test_a_writable_server_is_no_replica(replicated: Replicated) -> None:
    """What somebody promoted, or named by mistake, is left alone until it is read-only again."""
    replicated.pair.on_replica("SET GLOBAL read_only = OFF")
    await until(lambda: replicated.reads.replicas[0].state == "writable")
    replicated.mark("INSERT INTO users (id, email, email_normalized) VALUES ('user_x', 'x@y.example', 'x@y.example')")
    async with replicated.stubs() as stubs:
        assert await emails(stubs) == []
        replicated.pair.on_replica("SET GLOBAL read_only = ON")
        await until(replicated.used)
        assert await emails(stubs) == ["x@y.example"]


async def test_metrics_tell_what_replicas_do(serve: Serve) -> None:
    """Whoever is on call sees whether a replica is used, how far it is behind, and what it spared the primary."""
    port = free_port()
    with serve(metrics_port=port) as running:
        await until(running.used)
        async with running.stubs() as stubs:
            assert await emails(stubs) == []
        found = await scrape(port)
    (replica,) = running.reads.replicas
    assert found.value("vibework_replica_in_use", replica=replica.address) == 1
    assert 0 <= found.value("vibework_replica_lag_seconds", replica=replica.address) < AN_HOUR
    assert found.value("vibework_replica_reads_total", replica=replica.address) == 1
