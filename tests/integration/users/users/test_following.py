"""ListUsers and CountUsers for who keeps a copy: by ids and by the last change, in pages that miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from chassis.contract.timestamps import from_proto, to_proto
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.users import Stubs, UsersServer, reason, users_service, violations
from tests.integration.users.lock_waits import wait_for_lock
from tests.integration.users.users.test_list import ASC, DESC, START, TIES, listed, plain
from users_service.users import repository
from users_service.users.model import UserFilter, UserOrder

BY_CHANGE: Final = pb.USER_ORDER_UPDATED_AT_ASC
OVERLAP: Final = timedelta(minutes=2)


@pytest.fixture
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server on an empty database of each test's own."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database) as served:
        yield served


Insert = Callable[..., list[str]]


@pytest.fixture
def insert(users_server: UsersServer) -> Insert:
    """Store users past the server, whose changes go the other way than their creation; return their ids.

    ``TIES`` of them have changed in each second from ``START`` on.
    """

    def store(number: int, *, prefix: str = "a") -> list[str]:
        ids = [f"user_{prefix}{n:05}" for n in range(number)]
        rows = [
            f"('{id_}', '{id_}@example.com', '{id_}@example.com', {n % 2}, "
            f"'{START - timedelta(seconds=n):%Y-%m-%d %H:%M:%S}', "
            f"'{START + timedelta(seconds=n // TIES):%Y-%m-%d %H:%M:%S}')"
            for n, id_ in enumerate(ids)
        ]
        columns = "id, email, email_normalized, email_verified, created_at, updated_at"
        users_server.rows(f"INSERT INTO users ({columns}) VALUES {', '.join(rows)}")
        return ids

    return store


async def create(users: Stubs, name: str) -> User:
    """Create a user."""
    return (await users.users.CreateUser(pb.CreateUserRequest(email=f"{name}@example.com"))).user


async def rename(users: Stubs, id_: str, name: str) -> User:
    """Change a user."""
    request = pb.UpdateUserRequest(user=User(id=id_, name=name), update_mask=FieldMask(paths=["name"]))
    return (await users.users.UpdateUser(request)).user


async def count(users: Stubs, wanted: pb.UserFilter) -> int:
    """Count users."""
    return (await users.users.CountUsers(pb.CountUsersRequest(filter=wanted))).count


def since(time: datetime, **more: Any) -> pb.UserFilter:
    """Return the filter of changes from a time on."""
    return pb.UserFilter(updated_after=to_proto(time), **more)


@pytest.mark.parametrize("size", [1, 7, 25, 50])
async def test_pages_by_change_hold_everybody_once_in_order(users: Stubs, insert: Insert, size: int) -> None:
    """Whatever the size of the pages, and with equal times, each is listed once, the earliest change first."""
    ids = insert(25)
    assert await listed(users, pb.ListUsersRequest(page_size=size, order=BY_CHANGE)) == ids
    second = START + timedelta(seconds=2)
    assert await listed(users, pb.ListUsersRequest(page_size=size, order=BY_CHANGE, filter=since(second))) == ids[8:]


async def test_the_filters_mean_what_they_say(users: Stubs, users_server: UsersServer) -> None:
    """Each alone and together with others, in every order, in lists and counts alike."""
    made = [await create(users, f"u{n}") for n in range(5)]
    for n, user in enumerate(made):
        users_server.rows("UPDATE users SET updated_at = %s WHERE id = %s", f"2026-02-0{5 - n} 00:00:00", user.id)
    days = [Timestamp(seconds=int(datetime(2026, 2, 5 - n, tzinfo=UTC).timestamp())) for n in range(5)]
    ids = [user.id for user in made]
    cases = [
        (pb.UserFilter(ids=[ids[3], "nobody", ids[0]]), [0, 3]),
        (pb.UserFilter(ids=["nobody"]), []),
        (pb.UserFilter(updated_after=days[2]), [0, 1, 2]),
        (pb.UserFilter(updated_before=days[2]), [3, 4]),
        (pb.UserFilter(updated_after=days[3], updated_before=days[0]), [1, 2, 3]),
        (pb.UserFilter(ids=[ids[0], ids[1], ids[4]], updated_before=days[0]), [1, 4]),
        (pb.UserFilter(ids=ids[:3], email_ends_with="1@example.com"), [1]),
        (pb.UserFilter(ids=ids[1:], created_after=made[2].created_at, email_verified=False), [2, 3, 4]),
        (pb.UserFilter(updated_after=days[4], created_before=made[2].created_at), [0, 1]),
        (pb.UserFilter(updated_after=days[1], email_contains="u", email_verified=False), [0, 1]),
        (pb.UserFilter(updated_after=days[0], updated_before=days[4]), []),
    ]
    for wanted, expected in cases:
        for order in (BY_CHANGE, DESC, ASC):
            found = await listed(users, pb.ListUsersRequest(filter=wanted, order=order, page_size=2))
            in_order = expected if order == ASC else expected[::-1]
            assert found == [ids[n] for n in in_order], (wanted, order)
        assert await count(users, wanted) == len(expected), wanted


async def test_a_bound_finer_than_a_microsecond_is_kept(users: Stubs) -> None:
    """One nanosecond after a user's last change, that user is before the bound."""
    changed = (await create(users, "a")).updated_at
    later = Timestamp(seconds=changed.seconds, nanos=changed.nanos + 1)
    assert [await count(users, pb.UserFilter(updated_after=time)) for time in (changed, later)] == [1, 0]
    assert [await count(users, pb.UserFilter(updated_before=time)) for time in (changed, later)] == [0, 1]


async def test_ids_are_compared_byte_for_byte(users: Stubs, users_server: UsersServer) -> None:
    """What only looks alike to a collation, a space at the end say, is another id; also beside the right one."""
    user = await create(users, "a")
    ids = [user.id, f"{user.id} ", user.id.upper(), f"{user.id}\t"]
    for table in ("sessions", "accounts"):
        users_server.rows(f"ALTER TABLE {table} DROP FOREIGN KEY fk_{table}_user")
    for collation in ("utf8mb4_bin", "utf8mb4_general_ci"):
        users_server.rows(f"ALTER TABLE users MODIFY id VARCHAR(255) COLLATE {collation} NOT NULL")
        for id_ in ids[1:]:
            assert await count(users, pb.UserFilter(ids=[id_])) == 0
            for order in (BY_CHANGE, DESC):
                assert await listed(users, pb.ListUsersRequest(filter=pb.UserFilter(ids=[id_]), order=order)) == []
        assert await count(users, pb.UserFilter(ids=ids)) == 1
        assert await listed(users, pb.ListUsersRequest(filter=pb.UserFilter(ids=ids[::-1]))) == [user.id]


async def test_a_thousand_ids_are_found_page_by_page(users: Stubs, insert: Insert) -> None:
    """As many as the contract allows, in any order of the request; one more is refused and names the field."""
    ids = insert(1_200)
    asked = ids[1_000:] + ids[:800]
    for order, expected in ((BY_CHANGE, [*ids[:800], *ids[1_000:]]), (DESC, [*ids[:800], *ids[1_000:]])):
        request = pb.ListUsersRequest(filter=pb.UserFilter(ids=asked[::-1]), order=order, page_size=100)
        assert await listed(users, request) == expected
    assert await count(users, pb.UserFilter(ids=asked)) == 1_000
    for wrong in ([*asked, "one more"], ["a", "a"], [""], ["x" * 256]):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await count(users, pb.UserFilter(ids=wrong))
        assert violations(caught.value)[0].startswith("filter.ids")


async def test_a_token_is_of_one_filter_whatever_the_order_of_its_ids(users: Stubs, insert: Insert) -> None:
    """The same ids in another order are the same list; other ids, bounds or another order are not."""
    ids = insert(6)
    wanted = pb.UserFilter(ids=ids, updated_after=to_proto(START), updated_before=to_proto(START + OVERLAP))
    first = await users.users.ListUsers(pb.ListUsersRequest(page_size=2, filter=wanted, order=BY_CHANGE))

    def request(order: pb.UserOrder.ValueType = BY_CHANGE, **changes: Any) -> pb.ListUsersRequest:
        changed = pb.UserFilter()
        changed.CopyFrom(wanted)
        for name, value in changes.items():
            changed.ClearField(name)  # type: ignore[arg-type]
            changed.MergeFrom(pb.UserFilter(**{name: value}))
        return pb.ListUsersRequest(filter=changed, order=order, page_token=first.next_page_token)

    same = await users.users.ListUsers(request(ids=ids[::-1]))
    assert [user.id for user in same.users] == ids[2:]
    for other in (
        request(ids=ids[:5]),
        request(ids=[*ids, "another"]),
        request(ids=[]),
        request(updated_after=to_proto(START + timedelta(microseconds=1))),
        request(updated_before=to_proto(START + timedelta(minutes=1))),
        request(order=DESC),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.ListUsers(other)
        assert reason(caught.value) == "PAGE_TOKEN_FILTER_MISMATCH"


async def test_who_changes_while_pages_are_read_is_on_a_later_one(users: Stubs, insert: Insert) -> None:
    """No change is lost between two pages: whoever changes behind the reader is read again, as changed."""
    ids = insert(12)
    seen: list[User] = []
    request = pb.ListUsersRequest(page_size=3, order=BY_CHANGE)
    for turn in range(4):
        page = await users.users.ListUsers(request)
        seen += page.users
        request.page_token = page.next_page_token
        await rename(users, ids[turn], f"renamed {turn}")
        await create(users, f"new{turn}")
    while request.page_token:
        page = await users.users.ListUsers(request)
        seen += page.users
        request.page_token = page.next_page_token
    last = {user.id: user for user in seen}
    assert {last[id_].name for id_ in ids[:4]} == {f"renamed {turn}" for turn in range(4)}
    assert await count(users, pb.UserFilter()) == len(last) == 16


class Follower:
    """Keeps a copy as the documents tell: changes since the newest seen, less two minutes, and drops what it knows."""

    def __init__(self, users: Stubs) -> None:
        self.copy: dict[str, User] = {}
        self.taken: list[User] = []
        self._users = users
        self._newest = START

    async def poll(self) -> None:
        """Take what has changed, and forget who is gone."""
        request = pb.ListUsersRequest(page_size=3, order=BY_CHANGE, filter=since(self._newest - OVERLAP))
        while True:
            page = await self._users.users.ListUsers(request)
            for user in page.users:
                self._take(user)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        found = await self._users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=list(self.copy) or ["nobody"]))
        for gone in found.missing_ids:
            self.copy.pop(gone, None)

    def _take(self, user: User) -> None:
        self._newest = max(self._newest, from_proto(user.updated_at))
        known = self.copy.get(user.id)
        if known is None or known.etag != user.etag:
            self.copy[user.id] = user
            self.taken.append(user)


async def test_a_follower_misses_no_change_that_commits_late(users: Stubs, users_server: UsersServer) -> None:
    """A change that took its time before others and becomes visible after them is taken by the next poll, once."""
    made = [await create(users, f"u{n}") for n in range(4)]
    follower = Follower(users)
    await follower.poll()
    with users_server.holding("SELECT id FROM users WHERE id = %s FOR UPDATE", made[0].id):
        # Has taken its time, and waits for the row.
        late = asyncio.create_task(rename(users, made[0].id, "late"))
        await wait_for_lock(users_server)
        for n, user in enumerate(made[1:]):
            await rename(users, user.id, f"in time {n}")
        await follower.poll()
        assert follower.copy[made[0].id] == made[0]
    await late
    await follower.poll()
    await follower.poll()
    assert follower.copy[made[0].id].name == "late"
    assert from_proto(follower.copy[made[0].id].updated_at) < from_proto(follower.copy[made[1].id].updated_at)
    await users.users.DeleteUser(pb.DeleteUserRequest(id=made[3].id))
    await follower.poll()
    everybody = await users.users.ListUsers(pb.ListUsersRequest(page_size=100))
    assert follower.copy == {user.id: user for user in everybody.users}
    assert len(follower.taken) == len({(user.id, user.etag) for user in follower.taken}) == 4 + 4


MANY: Final = [f"user_a{n:05}" for n in range(1_000)]
# A filter, the part of 2,000 users after which the page begins, and how many entries its reading may look at.
PLANS: Final[list[tuple[UserFilter, float | None, int]]] = [
    (UserFilter(), None, 21),
    (UserFilter(), 0.5, 21),
    (UserFilter(updated_after=START + timedelta(seconds=100)), None, 21),
    (UserFilter(updated_after=START + timedelta(seconds=100)), 0.5, 21),
    (UserFilter(updated_after=START, updated_before=START + timedelta(seconds=300)), 0.5, 21),
    (UserFilter(updated_before=START + timedelta(seconds=300)), None, 21),
    # The users who are not verified are passed over.
    (UserFilter(updated_after=START + timedelta(seconds=100), email_verified=True), 0.5, 2 * 21),
    (UserFilter(ids=MANY[:3]), None, 3),
]


def entries_read(server: MySQLServer, database: str, statement: Any) -> int:
    """Return how many entries of indexes and rows a statement reads."""
    counters = ["FLUSH STATUS", plain(statement), "SHOW SESSION STATUS LIKE 'Handler_read%'"]
    return sum(int(value) for _, value in run_mysql(server, counters, database=database))


def test_a_page_by_change_reads_its_own_rows_only(
    users_server: UsersServer, mysql_server: MySQLServer, insert: Insert
) -> None:
    """No page sorts, or reads what lies before it: a poll costs what has changed, whoever else is in the table."""
    insert(2_000)
    users_server.rows("ANALYZE TABLE users")
    for wanted, part, most in PLANS:
        after = (START + timedelta(seconds=2_000 / TIES * part), "user_") if part else None
        page = repository.page_of_users(wanted, 21, after=after, order=UserOrder.EARLIEST_CHANGE_FIRST)
        assert entries_read(mysql_server, users_server.database.name, page) <= most + 2 * TIES, (wanted, part)


@pytest.mark.parametrize("order", list(UserOrder))
@pytest.mark.parametrize("number", [3, 1_000])
def test_ids_are_read_by_the_primary_key(
    users_server: UsersServer, mysql_server: MySQLServer, insert: Insert, order: UserOrder, number: int
) -> None:
    """A list of ids reads these rows and sorts them, in a table of any size; a count reads no more."""
    insert(3_000)
    users_server.rows("ANALYZE TABLE users")
    wanted = UserFilter(ids=MANY[:number])
    page = repository.page_of_users(wanted, 21, after=(START, "user_"), order=order)
    for statement in (page, repository.number_of_users(wanted)):
        # A row, perhaps the search that finds it, and the sorted rows of the page.
        assert entries_read(mysql_server, users_server.database.name, statement) <= 2 * number + 21 + 2 * TIES


def test_a_count_of_changes_is_read_from_an_index(users_server: UsersServer, insert: Insert) -> None:
    """It reads entries of the index of changes, never rows."""
    insert(2_000)
    users_server.rows("ANALYZE TABLE users")
    count_of = plain(repository.number_of_users(UserFilter(updated_after=START + timedelta(seconds=400))))
    (plan,) = users_server.rows(f"EXPLAIN FORMAT=TRADITIONAL {count_of}")
    assert "idx_updated_at" in plan
    assert "Using index" in plan[-1]
