"""Engines of SQLAlchemy: how connections to MySQL are opened, pooled and given up."""

from __future__ import annotations

import ssl
import time
from typing import Any

from sqlalchemy import PoolResetState, event, exc
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from users_service.mysql.driver_errors import ends_all_connections, ends_connection, finds_dead
from users_service.mysql.pools import IDLE_SINCE, MeasuredPool
from users_service.mysql.session_state import init_command, names_command
from users_service.mysql.settings import MySQLSettings
from users_service.mysql.writability import PrimaryWritability


def connect_arguments(settings: MySQLSettings) -> dict[str, Any]:
    """Return asyncmy's arguments for every connection to MySQL."""
    return {
        "host": settings.mysql_host,
        "port": settings.mysql_port,
        "user": settings.mysql_user,
        "password": settings.mysql_password.get_secret_value(),
        "database": settings.mysql_database,
        "charset": "utf8mb4",
        "connect_timeout": max(1, settings.mysql_connect_timeout_ms // 1000),
        "init_command": init_command(),
        "ssl": _tls(settings),
    }


def limited_arguments(settings: MySQLSettings) -> dict[str, Any]:
    """Return the arguments for connections on which the server, too, gives up long statements, a second after us."""
    return connect_arguments(settings) | {"init_command": init_command(settings.mysql_query_timeout_ms)}


def _tls(settings: MySQLSettings) -> ssl.SSLContext | None:
    # asyncmy's own `ssl=True` encrypts without checking whom it talks to.
    if settings.mysql_tls == "disabled":
        return None
    return ssl.create_default_context(cafile=settings.mysql_tls_ca_file)


def new_engine(
    settings: MySQLSettings, *, size: int, writability: PrimaryWritability | None = None, **options: Any
) -> AsyncEngine:
    """Return a pool of at most ``size`` connections; ``options`` as SQLAlchemy takes them.

    ``writability``: of the primary, where the pool is of connections to it.
    """
    engine = create_async_engine(
        URL.create("mysql+asyncmy"),
        connect_args=limited_arguments(settings),
        poolclass=MeasuredPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.mysql_pool_acquire_timeout_ms / 1000,
        # The one used last comes first, so that those that are not needed lie idle, and are closed.
        pool_use_lifo=True,
        # `_roll_back_what_is_open` does it.
        pool_reset_on_return=None,
        hide_parameters=True,
        **options,
    )
    _keep_collation(engine)
    _roll_back_what_is_open(engine)
    _discard_idle(engine, settings.mysql_pool_idle_timeout_ms / 1000)
    _retire(engine)
    if writability is not None:
        _leave_old_primary(engine, writability)
    return engine


def command_engine(settings: MySQLSettings) -> AsyncEngine:
    """Return an engine for a command that runs for as long as it takes: no pool, each statement commits."""
    engine = create_async_engine(
        URL.create("mysql+asyncmy"),
        connect_args=connect_arguments(settings),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    _keep_collation(engine)
    return engine


def _keep_collation(engine: AsyncEngine) -> None:
    """Set the collation again: SQLAlchemy sets the character set, and with it the server's default collation."""

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(names_command(connection.driver_connection.get_server_info()))
        cursor.close()


def _roll_back_what_is_open(engine: AsyncEngine) -> None:
    """Roll back a connection that returns to the pool where the server says that a transaction is open.

    SQLAlchemy would send a rollback every time, which takes a round trip although its transactions have ended. The
    server says with each answer whether a transaction is open.
    """

    @event.listens_for(engine.sync_engine, "reset")
    def reset(connection: Any, _record: Any, state: PoolResetState) -> None:
        if state.asyncio_safe and connection.driver_connection.get_transaction_status():
            connection.rollback()


def _discard_idle(engine: AsyncEngine, seconds: float) -> None:
    """Note since when a connection lies idle, and replace one that is lent before it was closed for that.

    Servers and balancers cut idle ones.
    """

    @event.listens_for(engine.sync_engine, "checkin")
    def remember(_connection: Any, record: Any) -> None:
        record.info[IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(_connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.pop(IDLE_SINCE, time.monotonic()) > seconds:
            raise exc.DisconnectionError("idle for too long")


def _retire(engine: AsyncEngine) -> None:
    """Give up a connection after an error that may have left an answer unread, or that says that it is broken."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def retire(context: ExceptionContext) -> None:
        # Without a connection there is none to give up.
        if context.connection is not None and ends_connection(context.original_exception):
            context.is_disconnect = True
            error = context.original_exception
            context.invalidate_pool_on_disconnect = ends_all_connections(error) or finds_dead(error)


def _leave_old_primary(engine: AsyncEngine, writability: PrimaryWritability) -> None:
    """Give up connections to a server that only reads: after a failover the name leads to another one."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def refused(context: ExceptionContext) -> None:
        writability.note(context.original_exception)

    @event.listens_for(engine.sync_engine, "connect")
    def opened(_connection: Any, record: Any) -> None:
        record.info["opened_at"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["opened_at"] <= writability.left_at:
            raise exc.DisconnectionError("of a server that only read")
