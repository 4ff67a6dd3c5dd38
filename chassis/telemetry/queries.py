"""Telemetry of database statements: slow ones are logged and counted, and those of a traced call become spans.

Logs and traces contain the name of a statement (``chassis.context.statements``) and the types and sizes of its
parameters (``shapes``), and neither SQL nor a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final, Protocol

from chassis.context import statements, trace
from chassis.context.trace import ActiveSpan
from chassis.logs import logging
from chassis.telemetry.families import Family, by

# Describes a statement's parameters for the log; called only for a slow one.
Shapes = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that ended: ``operation`` is its verb (``SELECT``, ``find``), ``seconds`` how long it took."""

    operation: str
    seconds: float
    # The driver's word for the kind of the error; empty for success.
    failure: str = ""
    collection: str = ""


class Spans(Protocol):
    """Takes statements of traced calls."""

    def statement(self, position: ActiveSpan, name: str, statement: Statement, target: Target) -> None:
        """Note a statement that ended just now."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """The database that is asked, in OpenTelemetry's words: ``mysql`` or ``mongodb``, and the database's name."""

    system: str
    namespace: str
    host: str = ""
    port: int = 0


class Queries:
    """Observes the statements of one database as they end.

    ``slow_ms``: statements that take this many milliseconds or longer are slow; 0: none is.
    """

    def __init__(self, target: Target, slow_ms: int, spans: Spans | None = None) -> None:
        self._target: Final = target
        self._slow_ms: Final = slow_ms
        self._slow: Final = slow_ms / 1000 if slow_ms else float("inf")
        self._spans: Final = spans
        self._counts: dict[str, int] = {}

    def at(self, host: str, port: int) -> Queries:
        """Return the observer for another server of the same database; its slow statements count here."""
        other = Queries(replace(self._target, host=host, port=port), self._slow_ms, self._spans)
        other._counts = self._counts
        return other

    @property
    def traced(self) -> bool:
        """Whether statements of traced calls become spans."""
        return self._spans is not None

    def ended(
        self, started: float, operation: str, shapes: Shapes, *, rows: int | None = None, failure: str = ""
    ) -> None:
        """Note a statement that began at ``started`` (``time.monotonic``), for the log and for the trace.

        ``failure``: a word for the kind of its error, never the error's text.
        """
        self.timed(started, shapes, rows=rows, failure=failure)
        if self._spans is not None:
            self.span(started, operation, failure=failure)

    def timed(self, started: float, shapes: Shapes, *, rows: int | None = None, failure: str = "") -> None:
        """Note a statement for the log of slow ones."""
        seconds = monotonic() - started
        if seconds >= self._slow:
            self._note_slow(seconds, shapes(), rows, failure)

    def span(self, started: float, operation: str, *, failure: str = "", collection: str = "") -> None:
        """Note a statement for the trace that it belongs to."""
        position = trace.current()
        if self._spans is not None and position is not None:
            verb = operation.lstrip().partition(" ")[0]
            statement = Statement(verb, monotonic() - started, failure, collection)
            self._spans.statement(position, statements.current(), statement, self._target)

    def _note_slow(self, seconds: float, shapes: Any, rows: int | None, failure: str) -> None:
        name = statements.current()
        self._counts[name] = self._counts.get(name, 0) + 1
        outcome = {"failure": failure} if failure else {"rows": rows} if rows is not None else {}
        log = logging.get("chassis.slow")
        log.warning("slow statement", statement=name, ms=round(seconds * 1_000, 1), parameters=shapes, **outcome)

    def collect(self) -> Iterator[Family]:
        """Yield how many statements were slow."""
        yield Family(
            "vibework_slow_statements_total",
            "counter",
            "Statements that took SLOW_QUERY_MS or longer, by name.",
            by("statement", self._counts),
        )
