"""OpenTelemetry spans: of calls served, of calls to the other service, and of database statements.

Imported only where the OTEL_* variables ask for it. Names and attributes follow the semantic conventions
(https://opentelemetry.io/docs/specs/semconv/); context travels as W3C ``traceparent``. We call OpenTelemetry's API
ourselves, because its gRPC instrumentation wraps handlers in ways that the asyncio server does not allow.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis.context import trace
from chassis.context.calls import Call
from chassis.context.trace import ActiveSpan
from chassis.telemetry.queries import Statement, Target

_CONTEXT_KEYS: Final = ("traceparent", "tracestate")
# The codes that mean an error of the server (semantic conventions for gRPC).
_FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class Tracing:
    """The spans of a process; ``exporter`` gets them from a thread of its own, in batches."""

    def __init__(self, resource: Resource, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vibework")
        self._propagator = TraceContextTextMapPropagator()

    def enter(self, call: Call) -> None:
        """Begin the span of a call, below the caller's if it has one; what the call does belongs to it."""
        name = call.method.strip("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        parent = self._extracted(call.metadata)
        call.span = span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        call.trace_id = format_trace_id(span.get_span_context().trace_id)
        trace.enter(_position(span))

    def leave(self, call: Call) -> None:
        """End the span of a call."""
        if call.span is None:
            return
        span, call.span = call.span, None
        span.set_attribute("rpc.response.status_code", call.code)
        if call.reason:
            span.set_attribute("error.type", call.reason)
        if call.code in _FAULTS:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def begin_call(self, method: str) -> Span:
        """Begin the span of a call to the other service; ``outgoing`` carries it there."""
        name = method.strip("/")
        position = trace.current()
        return self._tracer.start_span(
            name,
            None if position is None else set_span_in_context(position.parent),
            SpanKind.CLIENT,
            {"rpc.system.name": "grpc", "rpc.method": name},
            links=_links(position),
        )

    def outgoing(self, span: Span) -> Mapping[str, str]:
        """Return the metadata by which the other service finds the span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier

    def end_call(self, span: Span, code: str) -> None:
        """End the span of a call to the other service."""
        span.set_attribute("rpc.response.status_code", code)
        if code != "OK":
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def statement(self, position: ActiveSpan, name: str, statement: Statement, target: Target) -> None:
        """Make the span of a database statement that ended just now."""
        if not position.sampled:
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            name,
            set_span_in_context(position.parent),
            SpanKind.CLIENT,
            _attributes(name, statement, target),
            links=_links(position),
            start_time=ended - int(statement.seconds * 1e9),
        )
        if statement.failure:
            span.set_attribute("error.type", statement.failure)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Export what is left; blocks for as long as the exporter takes."""
        self._provider.shutdown()

    def _extracted(self, metadata: Iterable[tuple[str, Any]]) -> Context:
        carrier = {key: value for key, value in metadata or () if key in _CONTEXT_KEYS and isinstance(value, str)}
        return self._propagator.extract(carrier, Context())


def _position(span: Span) -> ActiveSpan:
    return ActiveSpan(span, span.get_span_context().trace_flags.sampled)


def _links(position: ActiveSpan | None) -> list[Link]:
    return [] if position is None else [Link(span.get_span_context()) for span in position.links]


def _attributes(name: str, statement: Statement, target: Target) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "db.system.name": target.system,
        "db.namespace": target.namespace,
        "db.operation.name": statement.operation,
        "db.query.summary": name,
        "server.address": target.host,
        "server.port": target.port,
        "db.collection.name": statement.collection,
    }
    return {key: value for key, value in found.items() if value}
