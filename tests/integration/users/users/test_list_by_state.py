"""ListUsers and CountUsers by state: what they show agrees with what they were asked for, and costs its page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from sqlalchemy.dialects import mysql
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.users import Stubs, UsersServer, reason, users_service, violations
from users_service.users import repository
from users_service.users.model import UserFilter, UserOrder

ACTIVE, DISABLED = user_pb2.USER_STATE_ACTIVE, user_pb2.USER_STATE_DISABLED
START = datetime(2026, 1, 1, tzinfo=UTC)
# What is stored of the state of every fourth user: active, disabled, for a while, for a while that is over.
STORED = (
    "NULL, NULL, 0",
    "UTC_TIMESTAMP(6), NULL, 1",
    "UTC_TIMESTAMP(6), '9999-12-31 23:59:59.999999', 1",
    "UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), 1",
)


@pytest.fixture
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server on an empty database of each test's own."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database) as served:
        yield served


def insert(server: UsersServer, number: int, *, prefix: str = "a", states: tuple[str, ...] = STORED) -> list[str]:
    """Store users past the server, of each of the states in turn; return their ids, the oldest first."""
    ids = [f"user_{prefix}{n:05}" for n in range(number)]
    rows = [
        f"('{id_}', '{id_}@example.com', '{id_}@example.com', '{START + timedelta(seconds=n):%F %T}', {state})"
        for n, (id_, state) in enumerate(zip(ids, itertools.cycle(states), strict=False))
    ]
    columns = "id, email, email_normalized, created_at, disabled_at, disabled_until, is_disabled"
    server.rows(f"INSERT INTO users ({columns}) VALUES {', '.join(rows)}")
    return ids


async def listed(users: Stubs, wanted: pb.UserFilter, order: pb.UserOrder.ValueType) -> list[user_pb2.User]:
    """Return the users on all pages."""
    request = pb.ListUsersRequest(page_size=3, filter=wanted, order=order)
    found: list[user_pb2.User] = []
    while True:
        response = await users.users.ListUsers(request)
        found += response.users
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


@pytest.mark.parametrize("order", [pb.USER_ORDER_CREATED_AT_DESC, pb.USER_ORDER_UPDATED_AT_ASC])
async def test_a_state_lists_and_counts_whom_it_shows(
    users: Stubs, users_server: UsersServer, order: pb.UserOrder.ValueType
) -> None:
    """An end that has passed makes its user active, to the filter as to the answer; both states are everybody."""
    ids = insert(users_server, 16)
    expected = {
        (): ids,
        (ACTIVE,): ids[0::4] + ids[3::4],
        (DISABLED,): ids[1::4] + ids[2::4],
        (DISABLED, ACTIVE): ids,
    }
    for states, wanted in expected.items():
        for more in ({}, {"ids": ids[:8]}, {"email_contains": "user_a"}, {"email_verified": False}):
            narrowed = pb.UserFilter(states=states, **more)
            right = set(wanted) & set(ids[:8] if "ids" in more else ids)
            found = await listed(users, narrowed, order)
            assert len(found) == len(right)
            assert {user.id for user in found} == right
            assert {user.state for user in found} <= set(states or (ACTIVE, DISABLED))
            assert (await users.users.CountUsers(pb.CountUsersRequest(filter=narrowed))).count == len(right)


async def test_a_token_belongs_to_its_states(users: Stubs, users_server: UsersServer) -> None:
    """A token of one state is refused with another; the order in which states are named is no matter."""
    insert(users_server, 16)
    first = pb.ListUsersRequest(page_size=2, filter=pb.UserFilter(states=[DISABLED, ACTIVE]))
    token = (await users.users.ListUsers(first)).next_page_token
    same = pb.UserFilter(states=[ACTIVE, DISABLED])
    assert len((await users.users.ListUsers(pb.ListUsersRequest(page_token=token, filter=same))).users) == 14
    for other in ([], [ACTIVE], [DISABLED]):
        request = pb.ListUsersRequest(page_token=token, filter=pb.UserFilter(states=other))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.ListUsers(request)
        assert reason(caught.value) == "PAGE_TOKEN_FILTER_MISMATCH"


@pytest.mark.parametrize("states", [[0], [3], [DISABLED, DISABLED]], ids=["unspecified", "unknown", "twice"])
async def test_a_state_that_is_none_is_refused(users: Stubs, states: list[user_pb2.UserState.ValueType]) -> None:
    """Whoever names a state that there is not gets no list that looks like one."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CountUsers(pb.CountUsersRequest(filter=pb.UserFilter(states=states)))
    assert all(field.startswith("filter.states") for field in violations(caught.value))
    assert violations(caught.value)


@pytest.mark.parametrize("order", [UserOrder.OLDEST_FIRST, UserOrder.NEWEST_FIRST])
@pytest.mark.parametrize("is_disabled", [True, False])
@pytest.mark.parametrize("part", [None, 0.5])
def test_a_page_of_a_state_reads_its_own_rows_only(
    users_server: UsersServer, mysql_server: MySQLServer, order: UserOrder, is_disabled: bool, part: float | None
) -> None:
    """No page sorts, or reads what lies before it, though few are disabled, and of some the end has passed."""
    insert(users_server, 2_000, states=STORED[:1])
    insert(users_server, 400, prefix="d", states=(*STORED[1:3], *STORED[1:3], STORED[3]))
    users_server.rows("ANALYZE TABLE users")
    number = 400 if is_disabled else 2_000
    after = (START + timedelta(seconds=number * part), "user_") if part else None
    page = repository.page_of_users(UserFilter(is_disabled=is_disabled), 21, after=after, order=order)
    compiled = page.compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True})
    counters = ["FLUSH STATUS", str(compiled).replace("+00:00", ""), "SHOW SESSION STATUS LIKE 'Handler_read%'"]
    reads = run_mysql(mysql_server, counters, database=users_server.database.name)
    # One in five is passed over in either state: whose end has passed, or who is disabled beside whom.
    assert sum(int(value) for _, value in reads) <= 2 * 21 + 2


def test_a_count_of_the_disabled_reads_the_disabled(users_server: UsersServer) -> None:
    """It does not look at the many who are active."""
    insert(users_server, 2_000, states=STORED[:1])
    insert(users_server, 20, prefix="d", states=STORED[1:])
    users_server.rows("ANALYZE TABLE users")
    counted = repository.number_of_users(UserFilter(is_disabled=True))
    compiled = str(counted.compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True}))
    (plan,) = users_server.rows(f"EXPLAIN FORMAT=TRADITIONAL {compiled}")
    assert "idx_is_disabled" in plan
