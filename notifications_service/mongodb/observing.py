"""Observation of MongoDB's commands and connection pools, for PyMongo and Motor alike.

Commands become spans by the driver's events, which cost 30 to 40 µs a command and are listened to only where calls are
traced. Slow statements are timed where limits are set (``Database.limits``); pools are read when metrics are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from pymongo import monitoring

from chassis.context import statements
from chassis.telemetry.families import Family, MetricType
from chassis.telemetry.queries import Queries

# A command that waits for events by design, and is never slow.
_WAITING: Final = "watch.next"

_running: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("command", default=None)


class CommandSpans(monitoring.CommandListener):
    """Makes every command of a traced call a span.

    The driver calls it in the task (with Motor: the thread) that carries the command out, so the command is kept in
    its context meanwhile. If its caller is cancelled, the driver does not report the end.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Keep the command until it ends."""
        _running.set(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Note a command that was answered."""
        self._ended(event, "")

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Note a command that the server refused, or did not answer."""
        failure = event.failure.get("codeName") or event.failure.get("errtype") or "failed"
        self._ended(event, str(failure))

    def _ended(self, event: Any, failure: str) -> None:
        command = _running.get() or {}
        _running.set(None)
        if statements.current() != _WAITING:
            started = monotonic() - event.duration_micros / 1e6
            self._queries.span(started, event.command_name, failure=failure, collection=_collection(command))


def _collection(command: Mapping[str, Any]) -> str:
    """Return the collection that a command names: its first value, or that of ``getMore``."""
    named = command.get("collection", next(iter(command.values()), ""))
    return named if isinstance(named, str) else ""


@dataclass(frozen=True, slots=True)
class ClientUse:
    """Connections to all servers of one client: open and lent, and callers that wait."""

    size: int
    in_use: int
    waiting: int


def use_of(client: Any) -> ClientUse:
    """Read the pools of a client of either driver.

    It reads private counters of the driver, since its public events cost every command 10 to 20 µs. A test fails where
    an upgrade moves them.
    """
    # Not getattr, since PyMongo's client takes every unknown name for a database. It has no topology before first use.
    inner = vars(client).get("delegate", client)
    topology = vars(inner).get("_topology")
    servers = {} if topology is None else vars(topology)["_servers"]
    pools = [server.pool for server in list(servers.values())]
    return ClientUse(
        size=sum(len(pool.conns) + len(pool.active_contexts) for pool in pools),
        in_use=sum(pool.active_sockets for pool in pools),
        waiting=sum(max(0, pool.operation_count - pool.active_sockets) for pool in pools),
    )


@dataclass(frozen=True, slots=True)
class PoolShare:
    """Connections for one purpose: open at most and now, and lent; callers that wait, or waited in vain so far."""

    pool: str
    limit: int
    size: int
    in_use: int
    waiting: int = 0
    timeouts: int = 0


def families(uses: Sequence[PoolShare], driver: str) -> Iterator[Family]:
    """Yield the metrics of pools, of which a client may have several in one."""

    def family(name: str, kind: MetricType, help_: str, value: Callable[[PoolShare], int]) -> Family:
        samples = [((("driver", driver), ("pool", use.pool)), value(use)) for use in uses]
        return Family(f"vibework_pool_{name}", kind, help_, samples)

    yield family("limit", "gauge", "Connections that a pool may open.", lambda use: use.limit)
    yield family("size", "gauge", "Connections that are open.", lambda use: use.size)
    yield family("in_use", "gauge", "Connections that are lent.", lambda use: use.in_use)
    yield family("waiting", "gauge", "Callers that wait for a connection.", lambda use: use.waiting)
    yield family("timeouts_total", "counter", "Callers that waited in vain.", lambda use: use.timeouts)
