"""Metrics over OTLP: the same numbers as Prometheus reads, cumulative since the start of the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from chassis.telemetry.families import Distribution, Family, Labels
from chassis.telemetry.registry import Registry
from chassis.telemetry.threads import in_thread

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
# Longer than the exporter itself gives a collector (OTEL_EXPORTER_OTLP_TIMEOUT, 10 s).
_PATIENCE: Final = 15.0


class MetricsExport:
    """Sends all metrics every ``interval`` seconds."""

    def __init__(self, registry: Registry, resource: Resource, exporter: MetricExporter, interval: float) -> None:
        self._registry = registry
        self._resource = resource
        self._exporter = exporter
        self._interval = interval
        self._started = time.time_ns()

    async def run(self) -> NoReturn:
        """Send for ever."""
        while True:
            await asyncio.sleep(self._interval)
            await self.send(_PATIENCE)

    async def send(self, patience: float, *, last: bool = False) -> bool:
        """Send once; False when that took longer than ``patience`` seconds. The exporter logs failures.

        ``last``: the databases are closed already.
        """
        families = [family async for family in self._registry.collect(asking=not last)]
        scope = ScopeMetrics(InstrumentationScope("vibework"), list(self._metrics(families)), "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        return await in_thread(lambda: self._exporter.export(data), patience)

    def close(self) -> None:
        """Stop an export that is under way, and send nothing more."""
        self._exporter.shutdown(timeout_millis=0)

    def _metrics(self, families: Sequence[Family]) -> Iterable[Metric]:
        now = time.time_ns()
        return [Metric(family.name, family.help, "", self._data(family, now)) for family in families if family.samples]

    def _data(self, family: Family, now: int) -> Sum | Gauge | Histogram:
        if family.kind == "histogram":
            points = [self._distribution(labels, value, now) for labels, value in family.samples]
            return Histogram([point for point in points if point is not None], _CUMULATIVE)
        numbers = [
            NumberDataPoint(dict(labels), self._started, now, float(value))
            for labels, value in family.samples
            if not isinstance(value, Distribution)
        ]
        if family.kind == "counter":
            return Sum(numbers, _CUMULATIVE, is_monotonic=True)
        return Gauge(numbers)

    def _distribution(self, labels: Labels, value: float | Distribution, now: int) -> HistogramDataPoint | None:
        if not isinstance(value, Distribution):
            return None
        return HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._started,
            time_unix_nano=now,
            count=sum(value.counts),
            sum=value.total,
            bucket_counts=list(value.counts),
            explicit_bounds=list(value.bounds),
            # Not kept; the encoder leaves None out.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )
