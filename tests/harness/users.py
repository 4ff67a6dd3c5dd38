"""The users service as it runs in production, on a database of its own and under a clock that a test can move.

| fixture | what it is |
|---|---|
| `users_server` | a server shared by the tests of one module |
| `users_channel` | an asynchronous channel to it, made for one test |
| `users` | its stubs on that channel |
| `many` | stubs on four channels, for calls that race |

The server has a thread and an event loop of its own, so that tests may be synchronous (`UsersServer.channel`) or not.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import pytest
import pytest_asyncio
import uvloop
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from vibework.users.v1.account_service_pb2_grpc import AccountServiceStub
from vibework.users.v1.session_service_pb2_grpc import SessionServiceStub
from vibework.users.v1.user_service_pb2_grpc import UserServiceStub
from vibework.users.v1.verification_service_pb2_grpc import VerificationServiceStub

from chassis.serving.lifecycle import Scope
from chassis.serving.server import Server
from tests.harness.clocks import VirtualClock, in_database
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.settings import read_once
from tests.harness.statements import holding, query
from users_service.app import build
from users_service.settings import Settings

if TYPE_CHECKING:
    # The generated modules have these classes in their types only.
    from vibework.users.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from vibework.users.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from vibework.users.v1.user_service_pb2_grpc import UserServiceAsyncStub
    from vibework.users.v1.verification_service_pb2_grpc import VerificationServiceAsyncStub

T = TypeVar("T")

SECRET_KEYS = f"test-key:{base64.b64encode(bytes(range(32))).decode()}"


@dataclass
class UsersServer:
    """A users service that answers on a port of this machine."""

    database: MySQLDatabase
    clock: VirtualClock
    settings: Settings
    # What the database's clock shows; None: what the server's does.
    database_clock: VirtualClock | None = None
    # Seconds that calls may take once it ends.
    grace: float = 1.0
    # Set once it serves.
    address: str = ""
    server: Server | None = None
    loop: asyncio.AbstractEventLoop | None = None
    _ended: asyncio.Event | None = field(default=None, repr=False)

    def channel(self) -> grpc.Channel:
        """Open a channel for synchronous tests; close it, or use it as a context."""
        return grpc.insecure_channel(self.address)

    def aio_channel(self) -> grpc.aio.Channel:
        """Open a channel for asynchronous tests, with a connection of its own."""
        return grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's own loop, and wait for it."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement on the server's database, past the server, and return the rows."""
        return in_own_thread(partial(query, self.database, statement, arguments))

    def holding(self, statement: str, *arguments: Any) -> AbstractContextManager[None]:
        """Hold, in a transaction past the server, what a statement locks; undo it afterwards."""
        return holding(self.database, statement, arguments)

    async def serve(self, ready: threading.Event) -> None:
        """Serve until ``end`` is called."""
        self.loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as resources:
            scope = Scope(resources, asyncio.Event())
            database_clock = in_database(self.database_clock or self.clock)
            self.server = await build(self.settings, scope, clock=self.clock, database_clock=database_clock)
            await self.server.start()
            self.address = self.server.address
            ready.set()
            await self._ended.wait()
            await self.server.stop(grace=self.grace)

    def end(self) -> None:
        """Let ``serve`` return; once it has, nothing is left to do."""
        if self.loop is not None and self._ended is not None:
            with suppress(RuntimeError):  # Its loop is closed.
                self.loop.call_soon_threadsafe(self._ended.set)


class QuickSettings(Settings):
    """Settings by which a hash costs less than one that protects anybody: most tests are of what is around it."""

    argon2_memory_kib: int = 64
    argon2_passes: int = 1


# For tests of what is stored: the cost by default.
DEFAULT_HASHES: Final = {name: Settings.model_fields[name].default for name in ("argon2_memory_kib", "argon2_passes")}


def settings_for(database: MySQLDatabase, **changed: Any) -> Settings:
    """Return settings for a server on this database: a free port, and quick drains.

    Patience with the database is long, for machines that do much else meanwhile; tests of timeouts shorten it.
    """
    values: dict[str, Any] = {
        **{name.lower(): value for name, value in database.environment().items()},
        "secret_keys": SECRET_KEYS,
        "grpc_port": 0,
        "grpc_drain_ms": 0,
        "purge_interval_ms": 0,
        "mysql_pool_acquire_timeout_ms": 10_000,
        "mysql_query_timeout_ms": 20_000,
        "notifications_address": "off",
        **changed,
    }
    return read_once(QuickSettings, values)


@contextmanager
def users_service(
    database: MySQLDatabase,
    clock: VirtualClock | None = None,
    database_clock: VirtualClock | None = None,
    **settings: Any,
) -> Iterator[UsersServer]:
    """Serve, on a free port, for as long as the context lasts; ``settings``: fields of ``Settings`` to change.

    ``database_clock``: what the database's clock shows; without it, it shows what ``clock`` does.
    """
    served = UsersServer(database, clock or VirtualClock(), settings_for(database, **settings), database_clock)
    ready = threading.Event()
    errors: list[BaseException] = []
    thread = threading.Thread(target=_serve, args=(served, ready, errors), name="users-service")
    thread.start()
    try:
        if not ready.wait(PATIENCE_SECONDS) or errors:
            raise AssertionError("the users service did not start") from (errors[0] if errors else None)
        yield served
    finally:
        served.end()
        thread.join()
    if errors:
        raise errors[0]


def _serve(served: UsersServer, ready: threading.Event, errors: list[BaseException]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(served.serve(ready))
    except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
        errors.append(error)
        ready.set()


@dataclass(frozen=True)
class Stubs:
    """The four services' stubs on one channel of an event loop."""

    users: UserServiceAsyncStub
    sessions: SessionServiceAsyncStub
    accounts: AccountServiceAsyncStub
    verifications: VerificationServiceAsyncStub

    @classmethod
    def on(cls, channel: grpc.aio.Channel) -> Stubs:
        """Make the stubs."""
        return cls(
            UserServiceStub(channel),
            SessionServiceStub(channel),
            AccountServiceStub(channel),
            VerificationServiceStub(channel),
        )


@dataclass(frozen=True)
class BlockingStubs:
    """The four services' stubs on one channel of a thread."""

    users: UserServiceStub
    sessions: SessionServiceStub
    accounts: AccountServiceStub
    verifications: VerificationServiceStub

    @classmethod
    def on(cls, channel: grpc.Channel) -> BlockingStubs:
        """Make the stubs."""
        return cls(
            UserServiceStub(channel),
            SessionServiceStub(channel),
            AccountServiceStub(channel),
            VerificationServiceStub(channel),
        )


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """Run the users service for the tests of one module."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database) as served:
        yield served


@pytest_asyncio.fixture
async def users_channel(users_server: UsersServer) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to the module's users service."""
    async with users_server.aio_channel() as channel:
        yield channel


@pytest_asyncio.fixture
async def many(users_server: UsersServer) -> AsyncIterator[list[Stubs]]:
    """Stubs on four connections."""
    channels = [users_server.aio_channel() for _ in range(4)]
    yield [Stubs.on(channel) for channel in channels]
    for channel in channels:
        await channel.close()


@pytest.fixture
def users(users_channel: grpc.aio.Channel) -> Stubs:
    """The stubs of the module's users service."""
    return Stubs.on(users_channel)


def reason(error: grpc.RpcError) -> str:
    """Return the reason in the ErrorInfo of an error; fails where it has none."""
    info = _detail(error, error_details_pb2.ErrorInfo())
    assert info is not None and info.domain == "vibework", error  # noqa: PT018 - one fact
    return str(info.reason)


def retry_seconds(error: grpc.RpcError) -> float | None:
    """Return the delay in the RetryInfo of an error, in seconds, or None."""
    retry = _detail(error, error_details_pb2.RetryInfo())
    return None if retry is None else retry.retry_delay.ToTimedelta().total_seconds()


def violations(error: grpc.RpcError) -> list[str]:
    """Return the fields that the BadRequest of an error names."""
    bad = _detail(error, error_details_pb2.BadRequest())
    return [] if bad is None else [item.field for item in bad.field_violations]


def violated(error: grpc.RpcError) -> dict[str, str]:
    """Return the fields that the BadRequest of an error names, each with the reason of its last violation."""
    bad = _detail(error, error_details_pb2.BadRequest())
    return {} if bad is None else {item.field: item.reason for item in bad.field_violations}


def metadata(error: grpc.RpcError) -> dict[str, str]:
    """Return the metadata in the ErrorInfo of an error."""
    return dict(_detail(error, error_details_pb2.ErrorInfo()).metadata)


def told(error: grpc.RpcError) -> str:
    """Return all that an error tells its caller, but for the request id, as text that can be compared."""
    status = _status(error)
    kept = [detail for detail in status.details if detail.TypeName() != "google.rpc.RequestInfo"]
    del status.details[:]
    status.details.extend(kept)
    return json_format.MessageToJson(status, sort_keys=True)


def _detail(error: Any, wanted: Any) -> Any:
    return next((wanted for detail in _status(error).details if detail.Unpack(wanted)), None)


def _status(error: Any) -> status_pb2.Status:
    trailing = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
