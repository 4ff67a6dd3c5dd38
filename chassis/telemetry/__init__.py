"""What the pair tells of itself: metrics for Prometheus, spans and metrics over OTLP, slow statements in the log.

The pieces are put together by ``start.start``; docs/decisions/0041-telemetry.md says why they are as they are.
"""
