"""Observation of SQLAlchemy's statements: each is reported when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.pooling.detached import CallerLeft, proceed
from chassis.telemetry import shapes
from chassis.telemetry.queries import Queries
from users_service.mysql.driver_errors import NothingSent

# Keys of a pooled connection's ``info``: when its statement began, and the observer of its end.
STARTED: Final = "statement_started"
_QUERIES: Final = "queries"


def observe(engine: AsyncEngine, queries: Queries) -> None:
    """Report every statement of the engine's connections to ``queries``."""
    pool = engine.sync_engine

    @event.listens_for(pool, "connect")
    def connected(_connection: Any, record: Any) -> None:
        record.info[_QUERIES] = queries

    @event.listens_for(pool, "before_cursor_execute")
    def begun(connection: Any, *_: Any) -> None:
        # The place between two statements of work whose caller may have left.
        proceed()
        connection.info[STARTED] = monotonic()

    @event.listens_for(pool, "after_cursor_execute")
    def succeeded(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        queries.ended(connection.info[STARTED], statement, lambda: _shapes(parameters), rows=max(0, cursor.rowcount))

    @event.listens_for(pool, "handle_error")
    def failed(context: ExceptionContext) -> None:
        # Errors of connecting have no statement, and some statements end before they are sent.
        sent = not isinstance(context.original_exception, NothingSent | CallerLeft)
        if sent and context.connection is not None and context.statement is not None:
            started = _started(context.connection)
            failure, parameters = type(context.original_exception).__name__, context.parameters
            queries.ended(started, context.statement, lambda: _shapes(parameters), failure=failure)


def _started(connection: Connection) -> float:
    try:
        return float(connection.info.get(STARTED, monotonic()))
    except NotImplementedError:
        # At the first connection SQLAlchemy asks the server about itself, on one that is not the pool's yet.
        return monotonic()


def queries_of(info: Mapping[Any, Any]) -> Queries:
    """Return the observer of a connection with this ``info``."""
    found: Queries = info[_QUERIES]
    return found


def _shapes(parameters: Any) -> list[str]:
    """Return the shapes of one row's parameters, and how many rows there are of many."""
    if isinstance(parameters, list):
        return [f"rows x{len(parameters)}", *(shapes.of(parameters[0]) if parameters else ())]
    return shapes.of(parameters)
