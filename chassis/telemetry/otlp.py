"""OTLP export of traces and metrics, where the standard OTEL_* variables ask for it.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/; the SDK itself reads the other
variables: endpoints, headers, certificates, samplers, limits, intervals, the resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chassis.contract.ids import new_id
from chassis.serving.lifecycle import StartFailed
from chassis.settings import unreadable

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from chassis.telemetry.otlp_metrics import MetricsExport
    from chassis.telemetry.registry import Registry
    from chassis.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals to send, in OpenTelemetry's word."""

    traces: bool
    metrics: bool


def wanted(variables: Mapping[str, str]) -> Signals:
    """Return the signals that the variables ask for: none without an endpoint. Raises StartFailed where we lack one."""
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
    for name in _file_variables(signal):
        if (path := variables.get(name)) and (why := unreadable(path)):
            raise StartFailed(f"{name}: {why}")
    return True


def _file_variables(signal: str) -> Iterator[str]:
    """Yield the variables that name files; the SDK would go on without such a file."""
    for prefix in ("OTEL_EXPORTER_OTLP", f"OTEL_EXPORTER_OTLP_{signal}"):
        yield from (f"{prefix}_{file}" for file in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"))


def resource(variables: Mapping[str, str], service: str, version: str) -> Resource:
    """Describe the process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    from opentelemetry.sdk.resources import Resource

    given = variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.partition("=")[0].strip() for pair in given.split(",")}
    if variables.get("OTEL_SERVICE_NAME"):
        named.add("service.name")
    ours = {"service.name": service, "service.version": version, "service.instance.id": new_id("run")}
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def tracing(described: Resource) -> Tracing:
    """Return the tracing of the process, whose spans are sent over OTLP."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    from chassis.telemetry.tracing import Tracing

    return Tracing(described, OTLPSpanExporter())


def metrics(described: Resource, registry: Registry, variables: Mapping[str, str]) -> MetricsExport:
    """Return the export of a registry's metrics over OTLP."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    from chassis.telemetry.otlp_metrics import MetricsExport

    interval = int(variables.get("OTEL_METRIC_EXPORT_INTERVAL") or 60_000)
    return MetricsExport(registry, described, OTLPMetricExporter(), interval / 1000)
