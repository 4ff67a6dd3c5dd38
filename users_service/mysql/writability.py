"""Writability of MySQL's primary, and failover: when connections must be opened anew because it takes no writes.

A server that is read-only may have been the primary a moment ago. Its name then resolves to another server, but open
connections stay with the old one, and reads on them would stay out of date. So when a server says that it is read-only,
every pool gives up its connections (``left_at``) and resolves the name again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from chassis.pooling import writability
from users_service.mysql.driver_errors import BINLOG_FORMAT, DISK_FULL, READ_ONLY, error_number

# What the health probe asks. Read-only mode is told by a number or a word, which depends on the server's version.
QUESTION: Final = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only"
_OFF: Final = (0, "OFF")
# Many writes are refused at once, so connections are given up no more often than this, in seconds.
_LEAVE_SECONDS: Final = 1.0


class PrimaryWritability(writability.Writability):
    """Whether the primary takes writes."""

    def __init__(self, on_left: Callable[[], None]) -> None:
        """``on_left``: called when connections opened until now must be given up."""
        super().__init__()
        # Connections opened before this time belong to a server that is read-only.
        self.left_at = 0.0
        self._on_left = on_left
        self._read_only = False

    @property
    def writable(self) -> bool:
        """Whether writes succeed, for all that is known."""
        return not self._read_only and super().writable

    def note(self, error: BaseException | None) -> None:
        """Look at an error of a statement: it may say that the server cannot write."""
        number = error_number(error)
        if number in READ_ONLY:
            self._read_only = True
            self._leave()
            self.refused("read_only", number)
        elif number in DISK_FULL:
            self.refused("disk_full", number)
        elif number == BINLOG_FORMAT:
            self.refused("binlog_format", number)

    def looked(self, answer: Sequence[Any]) -> None:
        """Note the answer to ``QUESTION``."""
        was, self._read_only = self._read_only, any(value not in _OFF for value in answer)
        if self._read_only:
            self._leave()
            self.tell(cause="read_only")
        elif was:
            self.accepts()
        else:
            self.tell()

    def _leave(self) -> None:
        now = monotonic()
        if now - self.left_at >= _LEAVE_SECONDS:
            self.left_at = now
            self._on_left()
