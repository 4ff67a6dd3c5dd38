"""Connections to MySQL: an engine for transactions, one for reads, and a few plain connections for point reads.

All together hold at most ``MYSQL_POOL_MAX_CONNECTIONS``. Driver errors end here: callers see the errors of
``chassis.errors``; the log has the server's error number, never a statement or its values.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

import asyncmy.errors
from sqlalchemy import PoolResetState, event, exc, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine

from chassis import deadline, logging
from chassis.errors import CallDeadlineExceeded, ConflictRetry, DatabaseUnavailable
from chassis.statements import named
from chassis.telemetry.queries import Queries, Spans, Target
from users_service.observing import observe
from users_service.pools import MeasuredPool, PointPool, Use, use_of
from users_service.settings import DatabaseSettings

T = TypeVar("T")

# Connections kept for point reads: each kind has one query in flight (docs/performance.md).
POINT_CONNECTIONS = 2
# How often a transaction that lost a deadlock, or found its connection gone, is carried out again.
RETRIES = 3

DUPLICATE_KEY = 1062
FOREIGN_KEY_MISSING = 1452
LOCK_WAIT_TIMEOUT = 1205
DEADLOCK = 1213
STATEMENT_TIMEOUTS = frozenset({1969, 3024})  # MariaDB's and MySQL's own limit on a statement
# The server takes no writes: it is not the primary, or not any more.
READ_ONLY = frozenset({1290, 1836})
DENIED = frozenset({1044, 1142, 1143, 1227})  # to a database, table or column; or a right is missing
NOT_MIGRATED = frozenset({1146, 1054})  # a table, or a column, is missing

# asyncmy's words where the server resets a connection before it is set up.
RESET_WHILE_CONNECTING = "Transport does not expose socket instance"

UNAVAILABLE = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    asyncmy.errors.OperationalError,
    asyncmy.errors.InterfaceError,
    OSError,
)

# Seconds that a statement waits for a row lock.
LOCK_WAIT_SECONDS = 2
INIT_COMMAND = (
    "SET time_zone = '+00:00', "
    "sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
)

log = logging.get(__name__)


def error_number(error: BaseException | None) -> int:
    """Return the MySQL error number of a driver error, also where SQLAlchemy wrapped it; 0 where there is none."""
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    number = origin.args[0] if origin is not None and origin.args else 0
    return number if isinstance(number, int) else 0


def duplicate_key(error: exc.IntegrityError) -> str:
    """Return the name of the unique key that a row would break; empty for another kind of integrity error."""
    if error_number(error) != DUPLICATE_KEY:
        return ""
    # MySQL says 'table.key', MariaDB 'key'; both quote it at the end of the message.
    message = str(error.orig.args[1]) if error.orig is not None else ""
    return message.rstrip("'").rsplit("'", 1)[-1].rsplit(".", 1)[-1]


class Database:
    """MySQL as the services use it: ``transaction`` for everything, ``read`` for the hot point reads."""

    def __init__(self, settings: DatabaseSettings, spans: Spans | None = None) -> None:
        """``spans``: takes the statements of traced calls."""
        self._settings = settings
        target = Target("mysql", settings.mysql_database, settings.mysql_host, settings.mysql_port)
        self.queries = Queries(target, settings.slow_query_ms, spans)
        self._query_timeout = settings.mysql_query_timeout_ms / 1000
        self._acquire_timeout = settings.mysql_pool_acquire_timeout_ms / 1000
        share = settings.mysql_pool_max_connections - POINT_CONNECTIONS
        # A third of the rest reads: lists and counts take one statement, transactions several.
        self.engine = new_engine(settings, size=share - share // 3, isolation_level="READ COMMITTED")
        self._reader = new_engine(
            settings, size=max(1, share // 3), isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )
        recycle = max(1, settings.mysql_pool_idle_timeout_ms // 1000)
        self._points = PointPool(POINT_CONNECTIONS, recycle, limited_arguments(settings), self.queries)
        for engine in (self.engine, self._reader):
            observe(engine, self.queries)

    @property
    def name(self) -> str:
        """The name of the database on its server."""
        return self._settings.mysql_database

    async def open(self) -> None:
        """Open the pool of point reads. It connects at the first read, so an absent server does not stop the start."""
        await self._points.open()

    async def close(self) -> None:
        """Close every connection, those in use too."""
        await self._points.close()
        await self._reader.dispose()
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @named
    async def ping(self) -> None:
        """Raise DatabaseUnavailable where the server does not answer, or has no tables of ours."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1 FROM users LIMIT 1"))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection that commits each statement by itself: for single statements, reads above all."""
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                async with self._reader.connect() as connection:
                    yield connection

    async def query(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Carry out a read, of one statement or several, as ``connection`` does."""
        async with self.connection() as connection:
            return await work(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Lend a READ COMMITTED connection for as long as background work takes; it commits when it is told to."""
        with translated():
            async with self.engine.connect() as connection:
                yield connection

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Carry out ``work`` in one READ COMMITTED transaction and commit it.

        ``work`` runs again, in a new transaction, after a deadlock or when its connection was found dead before
        the commit: it must have no other effects than those on its connection. Raises ConflictRetry when the
        retries did not help, DatabaseUnavailable, or CallDeadlineExceeded.
        """
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                for attempt in range(RETRIES):
                    try:
                        return await self._attempt(work)
                    except exc.DBAPIError as error:
                        if attempt + 1 == RETRIES or not _repeatable(error):
                            raise
                        log.info("transaction repeated", number=error_number(error), attempt=attempt + 1)
                raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self.engine.connect() as connection, connection.begin() as transaction:
            result = await work(connection)
            try:
                await self._commit(transaction)
            except exc.DBAPIError as error:
                # Whether it took effect is not known, so it must not run again.
                raise DatabaseUnavailable from error
            return result

    @named
    async def _commit(self, transaction: AsyncTransaction) -> None:
        started = time.monotonic()
        await transaction.commit()
        self.queries.ended(started, "COMMIT", list)

    async def read(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one SELECT outside of SQLAlchemy; repeat it once where the pooled connection turns out dead."""
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                try:
                    return await self._points.read(statement, arguments)
                except (asyncmy.errors.OperationalError, asyncmy.errors.InterfaceError, OSError) as error:
                    if error_number(error) in STATEMENT_TIMEOUTS:
                        raise
                    return await self._points.read(statement, arguments)

    def pools(self) -> dict[str, Use]:
        """Return what is in use of each pool."""
        engines = {"transactions": self.engine, "reads": self._reader}
        return {"points": self._points.use} | {name: use_of(engine.pool) for name, engine in engines.items()}


def _repeatable(error: exc.DBAPIError) -> bool:
    return error.connection_invalidated or error_number(error) == DEADLOCK


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver and the pool raise into errors that callers may see; integrity errors pass."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except TimeoutError as error:
        raise _timed_out() from error
    except (exc.SQLAlchemyError, asyncmy.errors.MySQLError, OSError) as error:
        raise _translate(error) from error
    except RuntimeError as error:
        if str(error) != RESET_WHILE_CONNECTING:
            raise
        raise DatabaseUnavailable from error


def _timed_out() -> Exception:
    left = deadline.remaining()
    return CallDeadlineExceeded() if left is not None and left <= 0 else DatabaseUnavailable()


def _translate(error: Exception) -> Exception:
    number = error_number(error)
    if number in (DEADLOCK, LOCK_WAIT_TIMEOUT):
        return ConflictRetry()
    if number in NOT_MIGRATED:
        log.error("the schema is not migrated", number=number)
        return DatabaseUnavailable()
    if isinstance(error, UNAVAILABLE) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        log.warning("database unavailable", number=number, kind=type(error).__name__)
        return DatabaseUnavailable()
    return error


def connect_arguments(settings: DatabaseSettings) -> dict[str, Any]:
    """Return how to connect, in asyncmy's words."""
    return {
        "host": settings.mysql_host,
        "port": settings.mysql_port,
        "user": settings.mysql_user,
        "password": settings.mysql_password.get_secret_value(),
        "database": settings.mysql_database,
        "charset": "utf8mb4",
        "connect_timeout": max(1, settings.mysql_connect_timeout_ms // 1000),
        "init_command": INIT_COMMAND,
        "ssl": _tls(settings),
    }


def limited_arguments(settings: DatabaseSettings) -> dict[str, Any]:
    """Return how to connect so that the server, too, gives up a statement whose caller is long gone.

    A second later than we do. MariaDB limits every statement, MySQL reads; each passes over the other's comment.
    """
    milliseconds = settings.mysql_query_timeout_ms + 1_000
    mariadb = f"/*M!100100 , max_statement_time = {milliseconds / 1000} */"
    mysql = f"/*!80000 , max_execution_time = {milliseconds} */"
    return connect_arguments(settings) | {"init_command": f"{INIT_COMMAND} {mariadb} {mysql}"}


def _tls(settings: DatabaseSettings) -> ssl.SSLContext | None:
    # asyncmy's own `ssl=True` encrypts without checking whom it talks to.
    if settings.mysql_tls == "disabled":
        return None
    return ssl.create_default_context(cafile=settings.mysql_tls_ca_file)


def new_engine(settings: DatabaseSettings, *, size: int, **options: Any) -> AsyncEngine:
    """Return a pool of at most ``size`` connections; ``options`` as SQLAlchemy takes them."""
    engine = create_async_engine(
        URL.create("mysql+asyncmy"),
        connect_args=limited_arguments(settings),
        poolclass=MeasuredPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.mysql_pool_acquire_timeout_ms / 1000,
        # `_roll_back_what_is_open` does it.
        pool_reset_on_return=None,
        hide_parameters=True,
        **options,
    )
    _roll_back_what_is_open(engine)
    _discard_idle(engine, settings.mysql_pool_idle_timeout_ms / 1000)
    _leave_old_primary(engine)
    return engine


def _roll_back_what_is_open(engine: AsyncEngine) -> None:
    """Roll back, when a connection comes back to the pool, where the server says that a transaction is open.

    SQLAlchemy has ended every transaction that it knows of by then, and its own way takes a round trip after each of
    them to roll back nothing. The server tells with each answer whether one is open.
    """

    @event.listens_for(engine.sync_engine, "reset")
    def reset(connection: Any, _record: Any, state: PoolResetState) -> None:
        if state.asyncio_safe and connection.driver_connection.get_transaction_status():
            connection.rollback()


def _discard_idle(engine: AsyncEngine, seconds: float) -> None:
    """Replace, when it is asked for, a connection that lay idle for longer: servers and balancers cut such ones."""

    @event.listens_for(engine.sync_engine, "checkin")
    def remember(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(_connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.pop("idle_since", time.monotonic()) > seconds:
            raise exc.DisconnectionError("idle for too long")


def _leave_old_primary(engine: AsyncEngine) -> None:
    """Give up all connections to a server that only reads: after a failover the name leads to another one."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def leave(context: Any) -> None:
        if error_number(context.original_exception) in READ_ONLY:
            context.is_disconnect = True
