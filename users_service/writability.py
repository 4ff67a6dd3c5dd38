"""Whether MySQL takes writes, and when connections to it must be made anew because it does not.

A server that only reads may have been the primary a moment ago: its name then leads to another one, but the connections
that are open stay with it, and reads on them are never again up to date. So when a server says that it is read-only,
every pool gives up what it has (``left_at``), and asks the name again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Literal

from chassis import logging
from users_service.driver_errors import DISK_FULL, READ_ONLY, error_number

Cause = Literal["read_only", "disk_full"]

# What the health probe asks. What switches read-only mode on is a number or a word, by the server's version.
QUESTION: Final = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only"
_OFF: Final = (0, "OFF")
# After a write that the disk had no room for, so many seconds without another one mean that there is room again.
FULL_SECONDS: Final = 60.0
# Refused writes come in crowds: connections are not given up more often than this, in seconds.
_LEAVE_SECONDS: Final = 1.0

log = logging.get(__name__)


class Writability:
    """What is known of the primary. For metrics: ``writable``, and ``refusals`` by cause."""

    def __init__(self, on_left: Callable[[], None]) -> None:
        """``on_left``: called when connections made until now are no good any more."""
        self.refusals: Counter[Cause] = Counter({"read_only": 0, "disk_full": 0})
        # Connections opened before are of a server that only reads.
        self.left_at = 0.0
        self._on_left = on_left
        self._read_only = False
        self._full_until = 0.0
        self._told = True

    @property
    def writable(self) -> bool:
        """Whether writes succeed, for all that is known."""
        return not self._read_only and monotonic() >= self._full_until

    def refused(self, error: BaseException | None) -> None:
        """Note an error of a statement, where it says that the server cannot write."""
        number = error_number(error)
        if number in READ_ONLY:
            self.refusals["read_only"] += 1
            self._read_only = True
            self._leave()
        elif number in DISK_FULL:
            self.refusals["disk_full"] += 1
            self._full_until = monotonic() + FULL_SECONDS
        else:
            return
        self._tell(number=number)

    def looked(self, answer: tuple[Any, ...]) -> None:
        """Note the answer to ``QUESTION``."""
        self._read_only = any(value not in _OFF for value in answer)
        if self._read_only:
            self._leave()
        self._tell()

    def _leave(self) -> None:
        now = monotonic()
        if now - self.left_at >= _LEAVE_SECONDS:
            self.left_at = now
            self._on_left()

    def _tell(self, **why: int) -> None:
        writable = self.writable
        if writable == self._told:
            return
        self._told = writable
        if writable:
            log.info("the database takes writes again")
        else:
            log.warning("the database takes no writes", read_only=self._read_only, **why)
