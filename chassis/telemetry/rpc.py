"""Metrics of RPCs: how many, how long, with what outcome. Their names are those of go-grpc-middleware.

https://github.com/grpc-ecosystem/go-grpc-middleware/tree/main/providers/prometheus
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from time import monotonic
from typing import Final

from chassis.context.calls import Call
from chassis.interceptors.in_flight import InFlight
from chassis.telemetry.families import Distribution, Family, Labels, by

# Seconds; a point read takes about a millisecond, the cap is at 30 s.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Reasons of calls that were refused because there were too many; RATE_LIMITED is about one account, so it is not here.
SHED: Final = ("OVERLOADED", "PASSWORD_HASHING_BUSY", "TOO_MANY_WATCHERS", "WATCHER_TOO_SLOW")


class CallMetrics:
    """Counts calls; the server calls ``add`` for every call that ended."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], _Calls] = {}
        self._reasons: dict[str, int] = dict.fromkeys(SHED, 0)

    def add(self, call: Call) -> None:
        """Count a call that has just ended."""
        key = (call.method, call.code)
        alike = self._calls.get(key)
        if alike is None:
            alike = self._calls[key] = _Calls()
        seconds = monotonic() - call.started
        alike.counts[bisect_left(BOUNDS, seconds)] += 1
        alike.seconds += seconds
        if call.reason:
            self._reasons[call.reason] = self._reasons.get(call.reason, 0) + 1

    def collect(self) -> Iterator[Family]:
        """Yield the counts so far."""
        calls = [(_labels(*key), list(alike.counts), alike.seconds) for key, alike in self._calls.items()]
        yield Family(
            "grpc_server_handled_total",
            "counter",
            "Calls that ended, by method and status.",
            [(labels, sum(counts)) for labels, counts, _ in calls],
        )
        yield Family(
            "grpc_server_handling_seconds",
            "histogram",
            "How long calls took, by method and status.",
            [(labels, Distribution(BOUNDS, counts, seconds)) for labels, counts, seconds in calls],
        )
        shed = {reason: self._reasons[reason] for reason in SHED}
        errors = {reason: count for reason, count in self._reasons.items() if count}
        yield Family(
            "vibework_calls_shed_total", "counter", "Calls refused because there were too many.", by("reason", shed)
        )
        yield Family("vibework_errors_total", "counter", "Errors answered, by their ErrorReason.", by("reason", errors))


class _Calls:
    """Calls of one method and status: their number in each bucket of the histogram, and the sum of their seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


def in_flight(calls: InFlight) -> Iterator[Family]:
    """Yield the calls in flight and their limits, unary ones and streams apart."""
    now, limits = calls.now, calls.limits
    yield Family("grpc_server_in_flight", "gauge", "Calls being served now.", by("kind", now))
    yield Family("grpc_server_in_flight_limit", "gauge", "Calls that may be in flight at once.", by("kind", limits))


def _labels(method: str, code: str) -> Labels:
    service, _, name = method.strip("/").rpartition("/")
    return (("grpc_service", service), ("grpc_method", name), ("grpc_code", code))
