"""Metric families, independent of the format in which they are written.

Values are read when somebody asks for them. Counts that change with every call are kept in plain lists and dictionaries
that only the event loop's thread uses, so they need no locks.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# Names and values, in the order in which they are written.
Labels: TypeAlias = tuple[tuple[str, str], ...]
MetricType: TypeAlias = Literal["counter", "gauge", "histogram"]

NO_LABELS: Final[Labels] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's state: ``counts`` per bucket, one more than ``bounds``, not cumulative; ``total`` of all values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples; the names of counters end in ``_total`` (Prometheus' rules for names)."""

    name: str
    kind: MetricType
    help: str
    samples: Sequence[tuple[Labels, float | Distribution]]


Collect: TypeAlias = Callable[[], Iterable[Family]]
# For metrics that are read from a database.
CollectAsync: TypeAlias = Callable[[], AsyncIterable[Family]]


def gauge(name: str, help_: str, value: float, labels: Labels = NO_LABELS) -> Family:
    """Make a gauge of one sample."""
    return Family(name, "gauge", help_, [(labels, value)])


def counter(name: str, help_: str, value: float, labels: Labels = NO_LABELS) -> Family:
    """Make a counter of one sample."""
    return Family(name, "counter", help_, [(labels, value)])


def by(label: str, values: Mapping[str, float]) -> list[tuple[Labels, float]]:
    """Make samples of values that differ in one label."""
    return [(((label, key),), value) for key, value in values.items()]
