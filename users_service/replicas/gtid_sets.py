"""GTID sets: the transactions that a server has carried out, as MySQL and MariaDB write them.

Both number the transactions of a primary. MySQL lists those that were carried out (``uuid:1-9:11``, with tags
``uuid:1-9:tag:1-4``); MariaDB names the last one of each domain (``domain-server-number``), which implies those before
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

Interval = tuple[int, int]
# Seconds on the clock of ``time.monotonic``: of a replica whose GTID set was never read.
NEVER: Final = float("-inf")


class GtidSet:
    """A set of transactions; two are equal when they are written alike."""

    __slots__ = ("_runs", "text")

    def __init__(self, text: str, runs: Mapping[str, tuple[Interval, ...]]) -> None:
        self.text: Final = text
        self._runs: Final = runs

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def covers(self, other: GtidSet) -> bool:
        """Say whether every transaction of the other one is in this one."""
        return self.text == other.text or all(
            any(first <= low and high <= last for first, last in self._runs.get(source, ()))
            for source, runs in other._runs.items()
            for low, high in runs
        )


@lru_cache(maxsize=256)
def parse(text: str) -> GtidSet:
    """Read the GTID set of either server. Raises ValueError."""
    runs: dict[str, list[Interval]] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        for source, interval in _mysql(item) if ":" in item else _mariadb(item):
            runs.setdefault(source, []).append(interval)
    return GtidSet(text, {source: tuple(intervals) for source, intervals in runs.items()})


def _mysql(item: str) -> Iterator[tuple[str, Interval]]:
    uuid, *rest = item.split(":")
    source = uuid
    for field in rest:
        if field[:1].isdigit():
            low, _, high = field.partition("-")
            yield source, (int(low), int(high or low))
        else:
            source = f"{uuid}:{field}"


def _mariadb(item: str) -> Iterator[tuple[str, Interval]]:
    domain, _, number = item.split("-")
    yield domain, (1, int(number))


NOWHERE: Final = GtidSet("", {})


class Log:
    """The GTID sets of the primary at times of the recent past, newest first."""

    def __init__(self, length: int) -> None:
        """``length``: how many times are remembered."""
        self._entries: deque[tuple[float, GtidSet]] = deque(maxlen=length)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, time: float, position: GtidSet) -> None:
        """Note a set that includes every transaction acknowledged before ``time``."""
        self._entries.appendleft((time, position))

    def complete_to(self, position: GtidSet) -> float:
        """Return the last known time up to which a replica's set includes all acknowledged transactions."""
        return next((time for time, passed in self._entries if position.covers(passed)), NEVER)

    def since(self, time: float) -> GtidSet | None:
        """Return the first set noted at ``time`` or later; None where there is none yet."""
        return next((passed for noted, passed in reversed(self._entries) if noted >= time), None)
