"""Telemetry: metrics for Prometheus, spans and metrics over OTLP, slow statements in the log.

``start.start`` puts the pieces together; docs/decisions/0041-telemetry.md says why they are as they are.
"""
