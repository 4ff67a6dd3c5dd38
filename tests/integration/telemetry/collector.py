"""An OTLP collector within the test: it takes spans and metrics over gRPC and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.harness.patience import PATIENCE_SECONDS


def attributes(pairs: Any) -> dict[str, str | int]:
    """Return attributes as a dictionary; those that are neither text nor whole numbers as text."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> str | int:
    kind = pair.value.WhichOneof("value")
    value: str | int = getattr(pair.value, kind) if kind in ("string_value", "int_value") else str(pair.value)
    return value


@dataclass(frozen=True)
class Span:
    """One span as it arrived."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    links: tuple[str, ...]
    attributes: dict[str, str | int]


@dataclass
class Collector:
    """What has arrived."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    # The values of the metrics, by service and name; of histograms the counts.
    metrics: dict[tuple[str, str], float] = field(default_factory=dict)
    resources: list[dict[str, str | int]] = field(default_factory=list)
    # Everything, as text.
    texts: list[str] = field(default_factory=list)

    def take_spans(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        """Keep the spans of a request."""
        self.texts.append(str(request))
        for group in request.resource_spans:
            resource = attributes(group.resource.attributes)
            self.resources.append(resource)
            for scope in group.scope_spans:
                self.spans.extend(_span(str(resource["service.name"]), span) for span in scope.spans)

    def take_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        """Keep the metrics of a request."""
        self.texts.append(str(request))
        for group in request.resource_metrics:
            resource = attributes(group.resource.attributes)
            self.resources.append(resource)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    key = (str(resource["service.name"]), metric.name)
                    # What only grows may have been sent earlier than what came before it.
                    least = 0.0 if metric.HasField("gauge") else self.metrics.get(key, 0.0)
                    self.metrics[key] = max(_total(metric), least)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what has arrived."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110 - spans come from threads of their own
                await asyncio.sleep(0.02)

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == 2,
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=attributes(span.attributes),
    )


def _total(metric: Any) -> float:
    points = getattr(metric, metric.WhichOneof("data")).data_points
    if metric.HasField("histogram"):
        return float(sum(point.count for point in points))
    return float(sum(getattr(point, point.WhichOneof("value")) for point in points))


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect on a free port, in threads of its own, for as long as the context lasts."""
    collector = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, _: Any) -> Any:
            collector.take_spans(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, _: Any) -> Any:
            collector.take_metrics(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(Traces(), server)
    add = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
    add(Metrics(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    collector.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        server.stop(None).wait()
