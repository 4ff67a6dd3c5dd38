"""ListUsers and CountUsers over the wire: pages that hold, filters that mean what they say, plans that scale."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.dialects import mysql
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from chassis.contract.timestamps import to_proto
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.users import Stubs, UsersServer, reason, users_service, violations
from users_service.users import repository
from users_service.users.model import UserFilter, UserOrder

ASC, DESC = pb.USER_ORDER_CREATED_AT_ASC, pb.USER_ORDER_CREATED_AT_DESC
START = datetime(2026, 1, 1, tzinfo=UTC)
# Rows that share a time of creation, so that pages must break ties.
TIES = 4


@pytest.fixture
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server on an empty database of each test's own."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database) as served:
        yield served


@pytest.fixture
def insert(users_server: UsersServer) -> Callable[..., list[str]]:
    """Store users past the server, ``TIES`` of them in each second from ``START`` on; return their ids."""

    def store(number: int, *, prefix: str = "a", verified: bool = False, start: datetime = START) -> list[str]:
        ids = [f"user_{prefix}{n:05}" for n in range(number)]
        rows = [
            f"('{id_}', '{id_}@example.com', '{id_}@example.com', {int(verified)}, "
            f"'{start + timedelta(seconds=n // TIES):%Y-%m-%d %H:%M:%S}')"
            for n, id_ in enumerate(ids)
        ]
        users_server.rows(
            f"INSERT INTO users (id, email, email_normalized, email_verified, created_at) VALUES {', '.join(rows)}"
        )
        return ids

    return store


async def pages(users: Stubs, request: pb.ListUsersRequest) -> AsyncIterator[list[User]]:
    """Read page after page to the end."""
    while True:
        response = await users.users.ListUsers(request)
        yield list(response.users)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


async def listed(users: Stubs, request: pb.ListUsersRequest) -> list[str]:
    """Return the ids on all pages."""
    return [user.id async for page in pages(users, request) for user in page]


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("size", [1, 7, 25, 50])
async def test_pages_hold_everybody_once_in_order(
    users: Stubs, insert: Callable[..., list[str]], order: pb.UserOrder.ValueType, size: int
) -> None:
    """Whatever the size of the pages, and with equal times, all users are listed once and in order."""
    ids = insert(25)
    found = await listed(users, pb.ListUsersRequest(page_size=size, order=order))
    assert found == (ids if order == ASC else ids[::-1])


@pytest.mark.parametrize("order", [ASC, DESC])
async def test_pages_hold_while_users_come_and_go(
    users: Stubs, users_server: UsersServer, insert: Callable[..., list[str]], order: pb.UserOrder.ValueType
) -> None:
    """Who is there throughout is listed once, though the row that a token points at, and others, are gone."""
    ids = insert(40)
    gone: set[str] = set()
    seen: list[str] = []
    async for page in pages(users, pb.ListUsersRequest(page_size=6, order=order)):
        turn = len(seen)
        seen += [user.id for user in page]
        ahead = [id_ for id_ in ids if id_ not in seen]
        victims = {page[-1].id, page[0].id, *ahead[1:2]}
        gone |= victims
        users_server.rows(f"DELETE FROM users WHERE id IN ({', '.join(['%s'] * len(victims))})", *victims)
        # Behind the reader, in either order: what comes ahead of it may be listed.
        insert(2, prefix=f"new{turn}_", start=START + timedelta(days=1 if order == DESC else -1))
    throughout = [id_ for id_ in ids if id_ not in gone]
    listed_once = [id_ for id_ in seen if id_ in throughout]
    assert listed_once == (throughout if order == ASC else throughout[::-1])
    assert len(seen) == len(set(seen)) <= len(ids)
    assert len(throughout) > 10


async def test_the_last_full_page_is_the_end(users: Stubs, insert: Callable[..., list[str]]) -> None:
    """No caller is sent for an empty page."""
    insert(10)
    first = await users.users.ListUsers(pb.ListUsersRequest(page_size=5))
    second = await users.users.ListUsers(pb.ListUsersRequest(page_size=5, page_token=first.next_page_token))
    assert first.next_page_token
    assert (len(second.users), second.next_page_token) == (5, "")


@pytest.mark.parametrize(("asked", "given"), [(0, 20), (100, 100), (1000, 100)])
async def test_page_sizes(users: Stubs, insert: Callable[..., list[str]], asked: int, given: int) -> None:
    """AIP-158: none asked for is 20, too many is 100."""
    insert(101)
    assert len((await users.users.ListUsers(pb.ListUsersRequest(page_size=asked))).users) == given


async def test_a_negative_page_size_is_refused(users: Stubs) -> None:
    """AIP-158."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.ListUsers(pb.ListUsersRequest(page_size=-1))
    assert violations(caught.value) == ["page_size"]


async def test_filters_mean_what_they_say(users: Stubs, users_server: UsersServer) -> None:
    """Each filter alone and all together, in lists and counts alike; % and _ are letters like others."""
    emails = ["Ann@Example.com", "b_b@example.org", "bxb@example.org", "c%c@EXAMPLE.com", "d\\d@example.com"]
    requests = [pb.CreateUserRequest(email=f"{uuid.uuid4().hex}@x.com", email_verified=n % 2 == 0) for n in range(5)]
    made = [(await users.users.CreateUser(request)).user for request in requests]
    for user, email in zip(made, emails, strict=True):
        users_server.rows(
            "UPDATE users SET email = %s, email_normalized = %s WHERE id = %s", email, email.casefold(), user.id
        )
    cases = [
        (pb.UserFilter(email_contains="EXAMPLE"), [0, 1, 2, 3, 4]),
        (pb.UserFilter(email_contains="b_b"), [1]),
        (pb.UserFilter(email_contains="c%c"), [3]),
        (pb.UserFilter(email_contains="\\"), [4]),
        (pb.UserFilter(email_contains="/"), []),
        (pb.UserFilter(email_ends_with=".COM"), [0, 3, 4]),
        (pb.UserFilter(email_ends_with="example"), []),
        (pb.UserFilter(email_verified=True), [0, 2, 4]),
        (pb.UserFilter(email_verified=False), [1, 3]),
        (pb.UserFilter(created_after=made[2].created_at), [2, 3, 4]),
        (pb.UserFilter(created_before=made[2].created_at), [0, 1]),
        (pb.UserFilter(created_after=made[1].created_at, created_before=made[4].created_at), [1, 2, 3]),
        (pb.UserFilter(email_ends_with=".com", email_verified=True, created_after=made[1].created_at), [4]),
    ]
    for wanted, expected in cases:
        ids = await listed(users, pb.ListUsersRequest(filter=wanted, order=ASC))
        assert ids == [made[n].id for n in expected], wanted
        assert (await users.users.CountUsers(pb.CountUsersRequest(filter=wanted))).count == len(expected), wanted


async def test_a_bound_finer_than_a_microsecond_is_kept(users: Stubs) -> None:
    """Times are stored by the microsecond: one nanosecond after a user's creation, that user is before the bound."""
    created_at = (await users.users.CreateUser(pb.CreateUserRequest(email="a@example.com"))).user.created_at
    later = Timestamp(seconds=created_at.seconds, nanos=created_at.nanos + 1)
    after = pb.CountUsersRequest(filter=pb.UserFilter(created_after=later))
    before = pb.CountUsersRequest(filter=pb.UserFilter(created_before=later))
    assert ((await users.users.CountUsers(after)).count, (await users.users.CountUsers(before)).count) == (0, 1)


@pytest.mark.parametrize(("seconds", "count"), [(-62_135_596_800, 1), (253_402_300_799, 0), (-1, 1), (2**31 + 5, 0)])
async def test_bounds_far_away_are_just_bounds(users: Stubs, seconds: int, count: int) -> None:
    """The years 1 and 9999, and times that the column cannot hold, compare like any other."""
    await users.users.CreateUser(pb.CreateUserRequest(email="a@example.com"))
    wanted = pb.UserFilter(created_after=Timestamp(seconds=seconds))
    assert (await users.users.CountUsers(pb.CountUsersRequest(filter=wanted))).count == count
    assert len(await listed(users, pb.ListUsersRequest(filter=wanted))) == count


async def test_a_bound_that_is_no_time_is_refused(users: Stubs) -> None:
    """What is beyond the calendar is a wrong field, not a fault of the server."""
    wanted = pb.UserFilter(created_before=Timestamp(seconds=2**62))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CountUsers(pb.CountUsersRequest(filter=wanted))
    assert violations(caught.value) == ["filter.created_before"]


async def test_totals_only_when_asked(users: Stubs, insert: Callable[..., list[str]]) -> None:
    """A total costs a scan, so it is counted on demand, and then it is that of all pages."""
    insert(5)
    without = await users.users.ListUsers(pb.ListUsersRequest(page_size=2))
    counted = await users.users.ListUsers(pb.ListUsersRequest(page_size=2, include_total=True))
    assert not without.HasField("total_size")
    assert counted.total_size == 5


async def test_a_list_honours_the_read_mask(users: Stubs, insert: Callable[..., list[str]]) -> None:
    """The fields left out of the mask are left out of every row; the mask may differ from page to page."""
    insert(3)
    request = pb.ListUsersRequest(page_size=2, read_mask=FieldMask(paths=["id"]))
    first = await users.users.ListUsers(request)
    assert list(first.users) == [User(id=user.id) for user in first.users]
    rest = await users.users.ListUsers(pb.ListUsersRequest(page_token=first.next_page_token))
    assert rest.users[0].email


async def test_a_token_belongs_to_its_list(users: Stubs, insert: Callable[..., list[str]]) -> None:
    """Another filter or order with an old token would skip or repeat users: it is refused, with its own reason."""
    insert(5)
    token = (await users.users.ListUsers(pb.ListUsersRequest(page_size=2))).next_page_token
    same = pb.ListUsersRequest(page_token=token, order=DESC)
    assert len((await users.users.ListUsers(same)).users) == 3
    for other in (
        pb.ListUsersRequest(page_token=token, order=ASC),
        pb.ListUsersRequest(page_token=token, filter=pb.UserFilter(email_verified=False)),
        pb.ListUsersRequest(page_token=token, filter=pb.UserFilter(created_after=to_proto(START))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.ListUsers(other)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason(caught.value) == "PAGE_TOKEN_FILTER_MISMATCH"


async def test_a_forged_token_is_refused(users: Stubs, insert: Callable[..., list[str]]) -> None:
    """Every changed character, and what is no token at all, is told from a token of ours."""
    insert(5)
    token = (await users.users.ListUsers(pb.ListUsersRequest(page_size=2))).next_page_token
    altered = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(0, len(token) - 1, 7)]
    for forged in (*altered, token[:-4], token + "AAAA", "x", "ü", " "):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.ListUsers(pb.ListUsersRequest(page_token=forged))
        assert reason(caught.value) == "PAGE_TOKEN_INVALID", forged


PAGES = [
    (UserFilter(), None),
    (UserFilter(), 0.5),
    (UserFilter(created_after=START + timedelta(seconds=100)), 0.5),
    (UserFilter(created_after=START, created_before=START + timedelta(seconds=300)), 0.5),
    (UserFilter(email_verified=False), None),
    (UserFilter(email_verified=False), 0.5),
    (UserFilter(email_verified=True), 0.5),
]


def plain(statement: Any) -> str:
    """Write a statement out as the driver does: with its values, and times without an offset."""
    compiled = statement.compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True})
    return str(compiled).replace("%%", "%").replace("+00:00", "")


@pytest.mark.parametrize("order", [UserOrder.OLDEST_FIRST, UserOrder.NEWEST_FIRST])
def test_a_page_reads_its_own_rows_only(
    users_server: UsersServer, mysql_server: MySQLServer, insert: Callable[..., list[str]], order: UserOrder
) -> None:
    """No page sorts, or reads what lies before it: page 1,000 costs what page 1 costs, whoever else is in the table."""
    insert(2000)
    insert(500, prefix="v", verified=True)
    users_server.rows("ANALYZE TABLE users")
    for wanted, part in PAGES:
        after = (START + timedelta(seconds=2000 / TIES * part), "user_") if part else None
        page = plain(repository.page_of_users(wanted, 21, after=after, order=order))
        counters = ["FLUSH STATUS", page, "SHOW SESSION STATUS LIKE 'Handler_read%'"]
        reads = run_mysql(mysql_server, counters, database=users_server.database.name)
        assert sum(int(value) for _, value in reads) <= 21 + 2 * TIES, (wanted, part)


@pytest.mark.parametrize(
    "wanted", [UserFilter(), UserFilter(created_after=START), UserFilter(email_verified=True)], ids=["all", "new", "ok"]
)
def test_counts_are_read_from_an_index(
    users_server: UsersServer, insert: Callable[..., list[str]], wanted: UserFilter
) -> None:
    """A count reads index entries, never rows."""
    insert(2000)
    users_server.rows("ANALYZE TABLE users")
    (plan,) = users_server.rows(f"EXPLAIN FORMAT=TRADITIONAL {plain(repository.number_of_users(wanted))}")
    assert "Using index" in plan[-1]
