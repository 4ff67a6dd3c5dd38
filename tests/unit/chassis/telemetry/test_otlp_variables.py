"""Which of the standard OTEL_* variables send what where."""

from __future__ import annotations

import pytest

from chassis.serving.lifecycle import StartFailed
from chassis.telemetry.otlp import Signals, wanted

COLLECTOR = "http://127.0.0.1:4317"
ALL = Signals(traces=True, metrics=True)
NOTHING = Signals(traces=False, metrics=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, NOTHING),
        ({"OTEL_SERVICE_NAME": "users"}, NOTHING),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, NOTHING),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, ALL),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, NOTHING),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "false"}, ALL),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, Signals(traces=True, metrics=False)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, Signals(traces=False, metrics=True)),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_METRICS_EXPORTER": "none"},
            Signals(traces=True, metrics=False),
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ALL),
    ],
)
def test_the_variables_say_what_is_sent(variables: dict[str, str], expected: Signals) -> None:
    """Nothing is sent, and nothing of it imported, unless a variable names where to."""
    assert wanted(variables) == expected


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL: only grpc is offered"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "x", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: only grpc is offered"),
        ("OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER: otlp or none"),
    ],
)
def test_what_is_not_offered_stops_the_start(variable: str, value: str, problem: str) -> None:
    """Who asks for another protocol is told so, instead of waiting for traces that never come."""
    with pytest.raises(StartFailed, match=problem):
        wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, variable: value})


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"])
def test_a_file_that_is_not_there_stops_the_start(variable: str) -> None:
    """The SDK would go on without it, and trust whom it was not told to."""
    with pytest.raises(StartFailed, match=f"{variable}: there is no such file"):
        wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, variable: "/absent.pem"})
