"""Tells of SQLAlchemy's statements when they have ended."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.telemetry import shapes
from chassis.telemetry.queries import Queries

_STARTED: Final = "statement_started"


def observe(engine: AsyncEngine, queries: Queries) -> None:
    """Tell ``queries`` of every statement that is sent by the engine's connections."""
    pool = engine.sync_engine

    @event.listens_for(pool, "before_cursor_execute")
    def begun(connection: Any, *_: Any) -> None:
        connection.info[_STARTED] = monotonic()

    @event.listens_for(pool, "after_cursor_execute")
    def succeeded(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        queries.ended(connection.info[_STARTED], statement, lambda: _shapes(parameters), rows=max(0, cursor.rowcount))

    @event.listens_for(pool, "handle_error")
    def failed(context: ExceptionContext) -> None:
        # Errors of connecting have no statement.
        if context.connection is not None and context.statement is not None:
            started = context.connection.info.get(_STARTED, monotonic())
            failure, parameters = type(context.original_exception).__name__, context.parameters
            queries.ended(started, context.statement, lambda: _shapes(parameters), failure=failure)


def _shapes(parameters: Any) -> list[str]:
    """Return the shapes of one row's parameters, and how many rows there are of many."""
    if isinstance(parameters, list):
        return [f"rows x{len(parameters)}", *(shapes.of(parameters[0]) if parameters else ())]
    return shapes.of(parameters)
