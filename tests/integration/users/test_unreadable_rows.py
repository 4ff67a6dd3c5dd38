"""Rows that others wrote under other rules: each has its own trouble, and nobody else's call, page or batch fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text
from vibework.users.v1 import (
    USER_ORDER_CREATED_AT_ASC,
    USER_ORDER_CREATED_AT_DESC,
    AccountTokens,
    BatchGetUsersRequest,
    CreateSessionRequest,
    CreateUserRequest,
    GetAccountTokensRequest,
    GetUserRequest,
    LinkAccountRequest,
    ListAccountsRequest,
    ListSessionsRequest,
    ListUsersRequest,
    ProviderAccount,
    UpdateUserRequest,
    UpdateUserResponse,
    User,
    UserFilter,
    UserOrder,
    ValidateSessionRequest,
)
from vibework.users.v1.verification_service_pb2 import VERIFICATION_PURPOSE_SIGN_IN

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.statements import number_of
from tests.harness.users import Stubs, UsersServer, reason, settings_for
from tests.integration.users.ways_to_sign_in import consume_request, secret_of, verification
from users_service.errors import RecordUnreadable
from users_service.mysql.database import Database
from users_service.outbox import repository as outbox

NEIGHBOURS: Final = 12
ORDERS: Final = (USER_ORDER_CREATED_AT_ASC, USER_ORDER_CREATED_AT_DESC)
# What MySQL stores as text, and is none: half of a surrogate pair. UCS-2 has such halves, and both servers turn them
# into utf8mb4 as they are. Of bytes that are to be text MariaDB checks none, and MySQL keeps those before the first bad
# one.
NO_TEXT: Final = "_ucs2 x'0041D8000042'"
NO_TIME: Final = "'0000-00-00 00:00:00'"


def spoil(served: UsersServer, *statements: str) -> None:
    """Do as a writer does that cares for no rules."""
    at = served.database
    run_mysql(MySQLServer(at.host, at.port, at.user, at.password), ["SET sql_mode = ''", *statements], database=at.name)


async def outcome(call: Awaitable[Any]) -> Any:
    """Return an answer, or the code and reason of an error."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return error.code(), reason(error)


UNREADABLE: Final = (grpc.StatusCode.DATA_LOSS, "RECORD_UNREADABLE")


@pytest.mark.parametrize(
    "change",
    [
        f"created_at = {NO_TIME}, updated_at = updated_at",
        f"updated_at = {NO_TIME}",
        f"name = {NO_TEXT}",
        f"image = {NO_TEXT}",
        f"email = {NO_TEXT}",
    ],
)
async def test_a_user_that_cannot_be_read_is_alone(change: str, users: Stubs, users_server: UsersServer) -> None:
    """Users asked for together with it are read, by id, by address, in batches and in lists of every order and size."""
    domain = f"@{abs(hash(change))}.example"
    requests = [CreateUserRequest(email=f"u{number}{domain}", name="🎉") for number in range(NEIGHBOURS + 1)]
    made = [(await users.users.CreateUser(request)).user for request in requests]
    bad, sound = made[7], made[:7] + made[8:]
    spoil(users_server, f"UPDATE users SET {change} WHERE id = '{bad.id}'")

    by_id = await asyncio.gather(*(outcome(users.users.GetUser(GetUserRequest(id=each.id))) for each in made * 4))
    by_email = await asyncio.gather(*(outcome(users.users.GetUser(GetUserRequest(email=each.email))) for each in made))
    for answer, user in zip([*by_id, *by_email], [*made * 4, *made], strict=True):
        assert (answer == UNREADABLE) if user.id == bad.id else (answer.user == user)
    batch = await users.users.BatchGetUsers(BatchGetUsersRequest(ids=[each.id for each in made] + ["nobody"]))
    assert list(batch.users) == sound
    assert [*batch.missing_ids, *batch.unreadable_ids] == ["nobody", bad.id]
    for order in ORDERS:
        for size in (1, 3, 100):
            assert await listed(users, domain, order, size) == sorted(each.id for each in sound)
    renamed = await outcome(rename(users, bad.id))
    if change.startswith(("name", "updated_at")):
        # What made it unreadable is gone with the change.
        assert renamed.user.name == "again"
    else:
        assert renamed == UNREADABLE
    assert (await rename(users, sound[0].id)).user.name == "again"


@pytest.mark.parametrize("column", ["created_at", "consumed_at"])
async def test_a_verification_that_cannot_be_read_is_alone(
    column: str, users: Stubs, users_server: UsersServer
) -> None:
    """Its secret is answered as what it is, unreadable; one of another address is consumed as ever."""
    emails = [f"{column}-{number}@verifications.example" for number in range(2)]
    made = [await verification(users, VERIFICATION_PURPOSE_SIGN_IN, email) for email in emails]
    spoil(users_server, f"UPDATE verifications SET {column} = {NO_TIME} WHERE id = '{made[0].verification.id}'")
    requests = [consume_request(each.verification.purpose, secret_of(each)) for each in made]
    answers = [await outcome(users.verifications.ConsumeVerification(request)) for request in requests]
    assert answers[0] == UNREADABLE
    assert answers[1].verification == made[1].verification


def rename(users: Stubs, id_: str) -> Awaitable[UpdateUserResponse]:
    """Ask for another name of a user."""
    request = UpdateUserRequest(user=User(id=id_, name="again"), update_mask=FieldMask(paths=["name"]))
    return users.users.UpdateUser(request)


async def listed(users: Stubs, domain: str, order: UserOrder.ValueType, size: int) -> list[str]:
    """Return the ids of all pages of a list; it ends."""
    found, token = [], ""
    for _ in range(2 * NEIGHBOURS + 10):
        request = ListUsersRequest(filter=UserFilter(email_ends_with=domain), order=order, page_size=size)
        request.page_token = token
        page = await users.users.ListUsers(request)
        found += [each.id for each in page.users]
        token = page.next_page_token
        if not token:
            return sorted(found)
    raise AssertionError("the list does not end")


async def test_a_page_of_users_that_cannot_be_read_ends_no_list(users: Stubs, users_server: UsersServer) -> None:
    """However many such rows lie beside each other, with times alike or none, those behind them are reached."""
    domain = "@crowded.example"
    made = [(await users.users.CreateUser(CreateUserRequest(email=f"u{number}{domain}"))).user for number in range(15)]
    without_time = ", ".join(f"'{each.id}'" for each in made[:6])
    without_text = ", ".join(f"'{each.id}'" for each in made[8:13])
    spoil(
        users_server,
        f"UPDATE users SET created_at = 0, updated_at = updated_at WHERE id IN ({without_time})",
        f"UPDATE users SET name = {NO_TEXT}, created_at = '2020-01-01' WHERE id IN ({without_text})",
    )
    expected = sorted(each.id for each in (*made[6:8], *made[13:]))
    for order in ORDERS:
        for size in (1, 2, 4):
            assert await listed(users, domain, order, size) == expected


@pytest.mark.parametrize(
    "change",
    [f"{name} = {NO_TIME}" for name in ("created_at", "last_seen_at", "absolute_expires_at", "revoked_at")]
    + [f"user_agent = {NO_TEXT}", f"ip_address = {NO_TEXT}"],
)
async def test_a_session_that_cannot_be_read_is_alone(change: str, users: Stubs, users_server: UsersServer) -> None:
    """Sessions validated together with it are valid, and lists of sessions have the others."""
    user = (await users.users.CreateUser(CreateUserRequest(email=f"s{abs(hash(change))}@example.com"))).user
    request = CreateSessionRequest(user_id=user.id)
    made = [await users.sessions.CreateSession(request) for _ in range(NEIGHBOURS)]
    bad = made[5]
    spoil(users_server, f"UPDATE sessions SET {change} WHERE id = '{bad.session.id}'")
    calls = [users.sessions.ValidateSession(ValidateSessionRequest(session_token=each.session_token)) for each in made]
    for answer, each in zip(await asyncio.gather(*map(outcome, calls)), made, strict=True):
        assert (answer == UNREADABLE) if each is bad else (answer.session.id == each.session.id)
    page = await users.sessions.ListSessions(ListSessionsRequest(user_id=user.id, page_size=100))
    assert {each.id for each in page.sessions} == {each.session.id for each in made if each is not bad}


@pytest.mark.parametrize("change", [f"created_at = {NO_TIME}", f"scope = {NO_TEXT}", f"account_id = {NO_TEXT}"])
async def test_an_account_that_cannot_be_read_is_alone(change: str, users: Stubs, users_server: UsersServer) -> None:
    """Lists of accounts have the others, whose tokens are read as before; numbers that are no time are left out."""
    user = (await users.users.CreateUser(CreateUserRequest(email=f"a{abs(hash(change))}@example.com"))).user
    made = []
    for number in range(5):
        account = ProviderAccount(
            provider=f"p{number}", account_id=f"{user.id}/{number}", tokens=AccountTokens(access_token="token")
        )
        linked = await users.accounts.LinkAccount(LinkAccountRequest(user_id=user.id, account=account))
        made.append(linked.account)
    spoil(
        users_server,
        f"UPDATE accounts SET {change} WHERE id = '{made[2].id}'",
        f"UPDATE accounts SET expires_at = -9223372036854775808, revision = -7 WHERE id = '{made[3].id}'",
    )
    for size in (1, 100):
        found, token = [], ""
        while True:
            request = ListAccountsRequest(user_id=user.id, page_size=size, page_token=token)
            page = await users.accounts.ListAccounts(request)
            found += [each.id for each in page.accounts]
            token = page.next_page_token
            if not token:
                break
        assert sorted(found) == sorted(each.id for each in (*made[:2], *made[3:]))
    for each in made:
        answer = await outcome(users.accounts.GetAccountTokens(GetAccountTokensRequest(user_id=user.id, id=each.id)))
        assert (answer == UNREADABLE) if each.id == made[2].id else (answer.tokens.access_token == "token")


async def test_columns_that_others_altered_spoil_only_what_they_hold(users: Stubs, users_server: UsersServer) -> None:
    """Bytes in the place of text, NULL and words in the place of numbers and times: each row for itself."""
    made = [
        (await users.users.CreateUser(CreateUserRequest(email=f"alt{n}@alt.example", name="🎉"))).user for n in range(6)
    ]
    spoil(
        users_server,
        "ALTER TABLE users MODIFY name VARBINARY(255), MODIFY revision VARCHAR(20), MODIFY created_at DATETIME(6)",
        f"UPDATE users SET name = x'FF', revision = '1' WHERE id = '{made[1].id}'",
        f"UPDATE users SET revision = 'many' WHERE id = '{made[2].id}'",
        f"UPDATE users SET created_at = NULL WHERE id = '{made[3].id}'",
        "ALTER TABLE users MODIFY revision VARCHAR(20)",
    )
    try:
        answers = await asyncio.gather(*(outcome(users.users.GetUser(GetUserRequest(id=each.id))) for each in made))
        assert set(answers) >= {UNREADABLE}
        spoil(users_server, "UPDATE users SET revision = 1", "ALTER TABLE users MODIFY revision INT")
        answers = await asyncio.gather(*(outcome(users.users.GetUser(GetUserRequest(id=each.id))) for each in made))
        assert [answer == UNREADABLE for answer in answers] == [False, True, False, True, False, False]
        assert await listed(users, "@alt.example", USER_ORDER_CREATED_AT_ASC, 2) == sorted(
            made[number].id for number in (0, 2, 4, 5)
        )
    finally:
        spoil(
            users_server,
            "DELETE FROM users WHERE email LIKE '%@alt.example'",
            "ALTER TABLE users MODIFY name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, "
            "MODIFY revision INT NOT NULL DEFAULT 1, "
            "MODIFY created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
        )


@pytest.fixture
async def database(users_server: UsersServer) -> AsyncIterator[Database]:
    """Pools of the test's own on the server's database."""
    async with Database(settings_for(users_server.database)) as opened:
        yield opened


async def test_a_result_that_cannot_be_decoded_stays_on_no_connection(database: Database) -> None:
    """The rest of it is never taken for the answer of the next statement, in reads and in transactions."""

    async def broken(connection: Any) -> None:
        await connection.execute(text(f"SELECT {NO_TEXT} UNION ALL SELECT REPEAT('x', 100000)"))

    async def number(connection: Any) -> int:
        await connection.execute(text("SELECT 1"))
        return number_of(connection)

    ways: list[Callable[[Any], Awaitable[Any]]] = [database.transaction, on_a_connection(database)]
    for way in ways:
        before = await way(number)
        for _ in range(3):
            with pytest.raises(RecordUnreadable):
                await way(broken)
            assert await way(number) > before


def on_a_connection(database: Database) -> Callable[[Any], Awaitable[Any]]:
    """Return what carries out work on a connection for single statements."""

    async def carry_out(work: Any) -> Any:
        async with database.connection() as connection:
            return await work(connection)

    return carry_out


async def test_a_call_to_make_that_nobody_can_read_keeps_no_other_from_being_made(
    database: Database, users_server: UsersServer
) -> None:
    """The relay gets the entries that are due, whatever else the outbox has."""
    columns = "INSERT INTO outbox (id, kind, payload, available_at) VALUES"
    spoil(
        users_server,
        f"{columns} ('out_1', 'k', '{{', '2020-01-01'), ('out_2', 'k', {NO_TEXT}, '2020-01-01')",
        f"{columns} ('out_3', 'k', '{{\"user_id\": \"u\"}}', '2020-01-02')",
    )
    now = users_server.clock()
    taken = await database.transaction(lambda connection: outbox.lease(connection, now, now, 10))
    assert {entry.id: entry.payload for entry in taken} == {"out_1": {}, "out_2": {}, "out_3": {"user_id": "u"}}
