"""Keys of rows are compared whole: what only looks alike to a collation finds nothing, changes nothing, makes nothing.

``utf8mb4_bin`` pads with spaces, also in foreign keys; collations of databases made elsewhere fold case and accents.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.contract.requests import USERS
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.users import BlockingStubs, UsersServer, reason, users_service
from tests.integration.users.ways_to_sign_in import PASSWORD
from users_service.tables import metadata
from users_service.unbuilt import FIELDS
from users_service.users.email import folded

KEYS: Final = frozenset(
    {"id", "ids", "user_id", "session_id", "account_id", "provider", "email", "identifier", "request_id", "etag"}
    | {"token", "session_token", "current_session_token"}
)
EMAILS: Final = frozenset({"email", "identifier"})
METHODS: Final[dict[str, MethodDescriptor]] = {
    f"{service.name}/{method.name}": method
    for file in (users_pb, sessions_pb, accounts_pb, pb)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
SIGN_IN: Final = pb.VERIFICATION_PURPOSE_SIGN_IN
VERIFY: Final = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
RESET: Final = pb.VERIFICATION_PURPOSE_PASSWORD_RESET
CHANGE: Final = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
KINDS: Final = {"code": pb.VERIFICATION_KIND_CODE, "token": pb.VERIFICATION_KIND_TOKEN}
# They name no row: a key in their requests is that of a row to be made.
NAME_NOTHING: Final = frozenset({"UserService/CreateUser", "SessionService/SignUp", "UserService/ImportUsers"})
# With a right secret another request_id is another sign-in, which consumes it.
CONSUMES: Final = ("VerificationService/SignInWithVerification", "request_id")
# It finds the user by the read of GetUser, and needs the notifications service besides, which is not here.
READS_AS_ANOTHER: Final = frozenset({"UserService/ExportUser"})
# Keys of what is found or else made, or that a row is to have: one that only looks alike is that of something else.
MAY_MAKE: Final = frozenset({"request_id", "account.account_id", "account.provider"})
MAY_MAKE_BY_EMAIL: Final = frozenset({"AccountService/SignInWithAccount", "VerificationService/CreateVerification"})
CHANGES_EMAIL: Final = "UserService/UpdateUser of the address"
# Under another request_id it is another refresh, which notes the time in the session's row.
BY_REQUEST_ID: Final = "SessionService/RefreshSession by request_id"
# What every attempt leaves, whether or not it finds anything.
COUNTERS: Final = frozenset({"attempt_counters"})
# What a sequencer writes to events in a time of its own, whichever call made them.
PLACES: Final = frozenset({"seq", "sequenced_at"})


@dataclass(frozen=True)
class World:
    """A user whose keys show each difference that a collation folds, and others with what cannot be the same user's."""

    user_id: str
    email: str
    session: sessions_pb.CreateSessionResponse
    account: accounts_pb.Account
    # Has no password.
    bare_id: str
    # By purpose: codes of one address, tokens of another.
    codes_email: str
    codes: dict[int, str]
    tokens: dict[int, str]
    # By kind: secrets of sign-ins as a request holds them, and requests to change the address of a user each.
    sign_ins: dict[str, dict[str, Any]]
    changes: dict[str, dict[str, Any]]


def requests_of(world: World) -> dict[str, dict[str, Any]]:
    """Return requests in JSON that name rows, for every RPC; carried out in this order, each succeeds."""
    user, account = {"userId": world.user_id}, {"userId": world.user_id, "id": world.account.id}
    token = {"sessionToken": world.session.session_token}
    known = {"provider": world.account.provider, "accountId": world.account.account_id}
    unknown = {"provider": "google", "accountId": f"Noël {uuid4().hex}"}
    code = {purpose: {"identifier": world.codes_email, "code": code} for purpose, code in world.codes.items()}
    change = {"purpose": "VERIFICATION_PURPOSE_EMAIL_CHANGE", "kind": "VERIFICATION_KIND_TOKEN"}
    return {
        "UserService/GetUser by id": {"id": world.user_id},
        "UserService/GetUser by email": {"email": world.email},
        "UserService/BatchGetUsers": {"ids": [world.user_id]},
        "UserService/ListUsers": {"filter": {"ids": [world.user_id]}},
        "UserService/CountUsers": {"filter": {"ids": [world.user_id]}},
        "SessionService/SignIn": {"email": world.email, "password": PASSWORD, "requestId": str(uuid4())},
        "SessionService/CreateSession": {**user, "requestId": str(uuid4())},
        "SessionService/ValidateSession": {**token, "includeUser": True},
        "SessionService/ListSessions": {**user, "currentSessionToken": world.session.session_token},
        "AccountService/ListAccounts": user,
        "AccountService/GetAccountTokens": account,
        "AccountService/UpdateAccountTokens": {**account, "tokens": {"accessToken": "new"}, "etag": '"1"'},
        "AccountService/LinkAccount": {**user, "account": unknown, "requestId": str(uuid4())},
        "AccountService/SignInWithAccount": {
            "account": known,
            "email": f"{uuid4().hex}@example.com",
            "requestId": str(uuid4()),
        },
        "UserService/UpdateUser": {
            "user": {"id": world.user_id, "name": "New", "etag": '"1"'},
            "updateMask": "name",
        },
        CHANGES_EMAIL: {
            "user": {"id": world.user_id, "email": world.email.upper(), "etag": '"2"'},
            "updateMask": "email",
        },
        "VerificationService/ConsumeVerification by code": {
            "purpose": "VERIFICATION_PURPOSE_SIGN_IN",
            "secret": {"code": code[SIGN_IN]},
        },
        "VerificationService/ConsumeVerification by token": {
            "purpose": "VERIFICATION_PURPOSE_SIGN_IN",
            "secret": {"token": world.tokens[SIGN_IN]},
        },
        "VerificationService/VerifyEmail by code": {"secret": {"code": code[VERIFY]}},
        "VerificationService/VerifyEmail by token": {"secret": {"token": world.tokens[VERIFY]}},
        "VerificationService/CreateVerification": {
            **change,
            **user,
            "identifier": world.email,
            "requestId": str(uuid4()),
        },
        **{
            f"VerificationService/SignInWithVerification by {kind}": {"secret": secret}
            for kind, secret in world.sign_ins.items()
        },
        **{f"VerificationService/ChangeEmail by {kind}": request for kind, request in world.changes.items()},
        "AccountService/ChangePassword": {
            **user,
            **token,
            "currentPassword": PASSWORD,
            "newPassword": f"another {PASSWORD}",
        },
        "SessionService/RefreshSession": {**token, "rotateToken": False},
        BY_REQUEST_ID: {**token, "rotateToken": False, "requestId": str(uuid4())},
        "SessionService/RevokeOtherSessions": token,
        "SessionService/RevokeSession by token": {**user, **token},
        "SessionService/RevokeSession by id": {**user, "sessionId": world.session.session.id},
        "SessionService/RevokeAllSessions": user,
        "VerificationService/ResetPassword by code": {"secret": {"code": code[RESET]}, "newPassword": PASSWORD},
        "VerificationService/ResetPassword by token": {
            "secret": {"token": world.tokens[RESET]},
            "newPassword": PASSWORD,
        },
        "AccountService/SetPassword": {"userId": world.bare_id, "password": PASSWORD},
        "AccountService/UnlinkAccount": account,
        "UserService/DisableUser": {"id": world.user_id, "etag": '"3"'},
        "UserService/EnableUser": {"id": world.user_id, "etag": '"4"'},
        "UserService/DeleteUser": {"id": world.user_id, "etag": '"5"'},
    }


def key_paths(message: Descriptor, before: str = "") -> Iterator[str]:
    """Yield the paths of all keys in requests of a type."""
    for field in message.fields:
        if field.message_type is None and field.name in KEYS:
            yield f"{before}{field.name}"
        elif field.message_type is not None and field.message_type.file.package == message.file.package:
            yield from key_paths(field.message_type, f"{before}{field.name}.")


def holder(request: Message, path: str) -> tuple[Any, str]:
    """Return the message that holds the field of a path, and the field's name."""
    *before, name = path.split(".")
    for step in before:
        request = getattr(request, step)
    return request, name


def key(request: Message, path: str) -> str:
    """Return the key at a path; empty where the request has none."""
    message, name = holder(request, path)
    value = getattr(message, name)
    return str(value if isinstance(value, str) else "".join(value))


def with_key(request: Message, path: str, value: str) -> Message:
    """Return the request with another key at a path."""
    changed = type(request)()
    changed.CopyFrom(request)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        # Each is another call.
        changed.ClearField("request_id")
    message, name = holder(changed, path)
    if isinstance(getattr(message, name), str):
        setattr(message, name, value)
    else:
        getattr(message, name)[:] = [value]
    return changed


def alike(path: str, value: str) -> list[str]:
    """Return texts that are not the key, but that some collation takes for it."""
    texts = {
        f"{value} ",
        f"{value}  ",
        f" {value}",
        f"{value}\0",
        f"{value}\N{ZERO WIDTH SPACE}",
        value.swapcase(),
        value.replace('"', '"0', 1),
        value.replace("s", "ś", 1).replace("o", "ö", 1),
        unicodedata.normalize("NFD", value),
    }
    # Addresses are compared in their normalised form: another spelling is the same.
    is_email = path.rpartition(".")[2] in EMAILS
    return sorted(text for text in texts if text != value and not (is_email and folded(text) == folded(value)))


def nobody(path: str) -> str:
    """Return a key of the same form that nothing has."""
    name = path.rpartition(".")[2]
    forms = {"etag": '"999"', "email": "nobody@example.com", "identifier": "nobody@example.com"}
    return forms.get(name, f"{'0' * 26}.{'A' * 43}" if name == "token" else f"nobody_{uuid4().hex}")


TABLES: Final = sorted(metadata.tables)


@pytest.fixture(scope="module", params=["utf8mb4_bin", pytest.param("utf8mb4_unicode_ci", marks=pytest.mark.long)])
def users_server(request: pytest.FixtureRequest, test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server on tables as they are migrated, and on tables whose text compares as in databases made elsewhere."""
    with migrated_mysql(test_run, mysql_server) as database:
        creates = [run_mysql(mysql_server, [f"SHOW CREATE TABLE {name}"], database=database.name) for name in TABLES]
        statements = [f"DROP TABLE {name}" for name in TABLES]
        statements += [str(rows[0][1]).replace("utf8mb4_bin", request.param) for rows in creates]
        run_mysql(mysql_server, ["SET FOREIGN_KEY_CHECKS = 0", *statements], database=database.name)
        unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
        with users_service(database, **unlimited) as served:
            yield served


@pytest.fixture
def channel(users_server: UsersServer) -> Iterator[grpc.Channel]:
    """A channel to that server."""
    with users_server.channel() as opened:
        yield opened


def new_user(server: UsersServer) -> tuple[str, str]:
    """Store a user under an id made elsewhere; return id and address."""
    id_, email = f"user_Zoë_{uuid4().hex}", f"zoe.so-{uuid4().hex}@example.com"
    server.rows("INSERT INTO users (id, email, email_normalized) VALUES (%s, %s, %s)", id_, email, email)
    return id_, email


@pytest.fixture
def world(users_server: UsersServer, channel: grpc.Channel) -> World:
    """Make the rows."""
    stubs = BlockingStubs.on(channel)
    (user_id, email), (bare_id, _), (_, one), (_, another) = (new_user(users_server) for _ in range(4))
    stubs.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=user_id, password=PASSWORD))
    provider = accounts_pb.ProviderAccount(provider="google", account_id=f"Zoë {uuid4().hex}")
    provider.tokens.access_token = "token"
    return World(
        user_id,
        email,
        stubs.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user_id)),
        stubs.accounts.LinkAccount(accounts_pb.LinkAccountRequest(user_id=user_id, account=provider)).account,
        bare_id,
        one,
        secrets_of(stubs, one, pb.VERIFICATION_KIND_CODE),
        secrets_of(stubs, another, pb.VERIFICATION_KIND_TOKEN),
        {kind: secret_of(stubs, SIGN_IN, new_user(users_server)[1], kind) for kind in KINDS},
        {kind: change_of(stubs, new_user(users_server)[0], kind) for kind in KINDS},
    )


def change_of(stubs: BlockingStubs, user_id: str, kind: str) -> dict[str, Any]:
    """Return a request that changes the address of a user."""
    secret = secret_of(stubs, CHANGE, f"{uuid4().hex}@example.com", kind, user_id)
    return {"secret": secret, "userId": user_id}


def secret_of(
    stubs: BlockingStubs, purpose: pb.VerificationPurpose.ValueType, email: str, kind: str, user_id: str = ""
) -> dict[str, Any]:
    """Make a secret for an address; return it as a request holds it."""
    request = pb.CreateVerificationRequest(purpose=purpose, identifier=email, kind=KINDS[kind], user_id=user_id)
    secret = stubs.verifications.CreateVerification(request).secret
    return {"code": {"identifier": email, "code": secret}} if kind == "code" else {"token": secret}


def secrets_of(stubs: BlockingStubs, email: str, kind: pb.VerificationKind.ValueType) -> dict[int, str]:
    """Make secrets for an address, by purpose."""
    requests = [
        pb.CreateVerificationRequest(purpose=purpose, identifier=email, kind=kind)
        for purpose in (SIGN_IN, VERIFY, RESET)
    ]
    return {request.purpose: stubs.verifications.CreateVerification(request).secret for request in requests}


class Calls:
    """Calls RPCs by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def request(self, label: str, body: dict[str, Any]) -> Message:
        """Make the request of an RPC."""
        return ParseDict(body, GetMessageClass(METHODS[label.split(maxsplit=1)[0]].input_type)())

    def answer(self, label: str, request: Message) -> str:
        """Call, and return the answer: the reason of an error, or the response in JSON."""
        method = METHODS[label.split(maxsplit=1)[0]]
        call: grpc.UnaryUnaryMultiCallable[Message, Message] = self._channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            return MessageToJson(call(request), ensure_ascii=False)
        except grpc.RpcError as error:
            return reason(error)


def rows_of(server: UsersServer) -> Counter[tuple[Any, ...]]:
    """Return every row of every table, without the places of events."""
    rows: Counter[tuple[Any, ...]] = Counter()
    for table in sorted(set(metadata.tables) - COUNTERS):
        columns = ", ".join(column.name for column in metadata.tables[table].columns if column.name not in PLACES)
        rows.update((table, *row) for row in server.rows(f"SELECT {columns} FROM {table}"))
    return rows


def strays(server: UsersServer) -> list[Any]:
    """Return what refers to a user by another text than the user's id."""
    found = []
    for table in ("sessions", "accounts"):
        whole = f"CAST({table}.user_id AS BINARY) = CAST(users.id AS BINARY)"
        found += server.rows(f"SELECT {table}.user_id FROM {table} LEFT JOIN users ON {whole} WHERE users.id IS NULL")
    return found


def without(answer: str, text: str) -> str:
    """Return an answer without the key that it repeats."""
    return answer.replace(json.dumps(text, ensure_ascii=False)[1:-1], "…")


def is_unbuilt(name: str, path: str) -> bool:
    """Say whether no request with this key is taken yet, because the RPC or the field is not built."""
    message: Any = METHODS[name].input_type
    *above, last = path.split(".")
    for part in above:
        message = message.fields_by_name[part.partition("[")[0]].message_type
    fields = {kind.DESCRIPTOR.full_name: names for kind, names in FIELDS.items()}
    return USERS[name][1] == "NOT_IMPLEMENTED" or last.partition("[")[0] in fields.get(message.full_name, ())


def check(calls: Calls, world: World, label: str, request: Message, path: str) -> None:
    """Assert that whatever looks like the key at a path is answered as a key that nothing has."""
    makes = path in MAY_MAKE or (path.rpartition(".")[2] in EMAILS and label in {CHANGES_EMAIL, *MAY_MAKE_BY_EMAIL})
    unknown = nobody(path)
    expected = None if makes else without(calls.answer(label, with_key(request, path, unknown)), unknown)
    for text in alike(path, key(request, path)):
        answer = calls.answer(label, with_key(request, path, text))
        assert expected in (None, without(answer, text)), (label, path, text)
        if label == "AccountService/SignInWithAccount" and path.startswith("account."):
            assert world.user_id not in answer, (label, path, text)


@pytest.mark.long
def test_what_only_looks_like_a_key_is_none(users_server: UsersServer, channel: grpc.Channel, world: World) -> None:
    """Every key of every RPC, spelled a little otherwise, is answered as one that nobody has, and changes no row."""
    calls, tried = Calls(channel), set()
    requests = {label: calls.request(label, body) for label, body in requests_of(world).items()}
    before = rows_of(users_server)
    for label, request in requests.items():
        method = METHODS[label.split()[0]]
        for path in key_paths(method.input_type):
            if key(request, path):
                tried.add((label.split()[0], path))
                check(calls, world, label, request, path)
        changed = before - rows_of(users_server)
        assert {table for table, *_ in changed} <= ({"sessions"} if label == BY_REQUEST_ID else set()), label
        before -= changed
        assert not strays(users_server), label
    named = {(name, path) for name, method in METHODS.items() for path in key_paths(method.input_type)}
    passed = NAME_NOTHING | READS_AS_ANOTHER
    left = {(name, path) for name, path in named - tried if name not in passed and not is_unbuilt(name, path)} - {
        CONSUMES
    }
    assert not left, f"{sorted(left)}: give it a request that succeeds in requests_of"
    # With ids of their own for what they make: some of it was made under keys that this database takes for the same.
    for label, body in requests_of(world).items():
        answer = calls.answer(label, calls.request(label, body))
        assert answer.startswith("{"), (label, answer)


def test_a_user_goes_with_rows_that_the_database_takes_for_its_own(users_server: UsersServer, world: World) -> None:
    """Rows of other writers, which a foreign key accepts for this user under another spelling, are not in the way."""
    padded = f"{world.user_id} "
    insert = "INSERT INTO {} (id, user_id, {}) VALUES (%s, %s, %s, %s)"
    id_ = uuid4().hex
    users_server.rows(insert.format("accounts", "account_id, provider"), id_, padded, id_, "github")
    with users_server.channel() as opened:
        BlockingStubs.on(opened).users.DeleteUser(users_pb.DeleteUserRequest(id=world.user_id))
    assert users_server.rows("SELECT 1 FROM accounts WHERE id = %s", id_) == []
