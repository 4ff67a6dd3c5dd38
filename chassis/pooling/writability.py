"""Writability of a database: a server may answer every read and refuse every write.

It is inferred from the answers to callers' writes, never from test writes: after a refused write the database counts as
not writable for a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Final, Literal

from chassis.logs import logging
from chassis.telemetry.families import Family

Cause = Literal["read_only", "disk_full", "binlog_format"]

# If no write was refused for so many seconds, writes are taken to succeed again.
REFUSED_SECONDS: Final = 60.0

log = logging.get(__name__)


class Writability:
    """Whether one database takes writes. For metrics: ``writable``, and ``refusals`` by cause."""

    def __init__(self) -> None:
        self.refusals: Counter[str] = Counter(read_only=0, disk_full=0)
        self._until = 0.0
        self._told = True

    @property
    def writable(self) -> bool:
        """Whether writes succeed, as far as is known."""
        return monotonic() >= self._until

    def refused(self, cause: Cause, number: int) -> None:
        """Note a write that was refused; ``number``: the server's number for the error."""
        self.refusals[cause] += 1
        self._until = monotonic() + REFUSED_SECONDS
        self.tell(cause=cause, number=number)

    def accepts(self) -> None:
        """Note that the server says that it takes writes again."""
        self._until = 0.0
        self.tell()

    def tell(self, **why: str | int) -> None:
        """Log a change of ``writable``; to be called from time to time, since time alone may change it."""
        writable = self.writable
        if writable == self._told:
            return
        self._told = writable
        if writable:
            log.info("the database takes writes again")
        else:
            log.warning("the database takes no writes", **why)

    def families(self, driver: str) -> Iterator[Family]:
        """Yield the metrics."""
        named = ("driver", driver)
        writable = [((named,), float(self.writable))]
        refusals = [((named, ("cause", cause)), float(number)) for cause, number in self.refusals.items()]
        yield Family("vibework_database_writable", "gauge", "0 while the database takes no writes.", writable)
        yield Family("vibework_database_refusals_total", "counter", "Writes that the database refused.", refusals)
