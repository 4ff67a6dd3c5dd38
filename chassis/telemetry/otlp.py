"""Whether the standard OTEL_* variables ask for traces and metrics over OTLP, and what sends them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/; the SDK itself reads the rest of
them: endpoints, headers, certificates, samplers, limits, intervals, the resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chassis.contract.ids import new_id
from chassis.serving.lifecycle import StartFailed

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from chassis.telemetry.otlp_metrics import MetricsExport
    from chassis.telemetry.registry import Registry
    from chassis.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Signals:
    """What is to be sent."""

    traces: bool
    metrics: bool


def wanted(variables: Mapping[str, str]) -> Signals:
    """Say what the variables ask for: nothing unless one names an endpoint. Raises StartFailed for what we lack."""
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Signals(traces=False, metrics=False)
    return Signals(traces=_asked(variables, "TRACES"), metrics=_asked(variables, "METRICS"))


def _asked(variables: Mapping[str, str], signal: str) -> bool:
    exporter = variables.get(f"OTEL_{signal}_EXPORTER") or "otlp"
    endpoint = variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter == "none" or not endpoint:
        return False
    if exporter != "otlp":
        raise StartFailed(f"OTEL_{signal}_EXPORTER: otlp or none")
    own, common = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    if (variables.get(own) or variables.get(common) or "grpc") != "grpc":
        raise StartFailed(f"{own if variables.get(own) else common}: only grpc is offered")
    return True


def resource(variables: Mapping[str, str], service: str, version: str) -> Resource:
    """Describe the process; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts for more."""
    from opentelemetry.sdk.resources import Resource

    given = variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.partition("=")[0].strip() for pair in given.split(",")}
    if variables.get("OTEL_SERVICE_NAME"):
        named.add("service.name")
    ours = {"service.name": service, "service.version": version, "service.instance.id": new_id("run")}
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def tracing(described: Resource) -> Tracing:
    """Make the spans of the process, sent over OTLP."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    from chassis.telemetry.tracing import Tracing

    return Tracing(described, OTLPSpanExporter())


def metrics(described: Resource, registry: Registry, variables: Mapping[str, str]) -> MetricsExport:
    """Make what sends the metrics of a registry over OTLP."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    from chassis.telemetry.otlp_metrics import MetricsExport

    interval = int(variables.get("OTEL_METRIC_EXPORT_INTERVAL") or 60_000)
    return MetricsExport(registry, described, OTLPMetricExporter(), interval / 1000)
