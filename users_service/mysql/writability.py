"""Whether MySQL takes writes, and when connections to it must be made anew because it does not.

A server that only reads may have been the primary a moment ago: its name then leads to another one, but the connections
that are open stay with it, and reads on them are never again up to date. So when a server says that it is read-only,
every pool gives up what it has (``left_at``), and asks the name again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from chassis.pooling import writability
from users_service.mysql.driver_errors import DISK_FULL, READ_ONLY, error_number

# What the health probe asks. Read-only mode is told by a number or a word, which depends on the server's version.
QUESTION: Final = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only"
_OFF: Final = (0, "OFF")
# Refused writes come in crowds: connections are not given up more often than this, in seconds.
_LEAVE_SECONDS: Final = 1.0


class PrimaryWritability(writability.Writability):
    """What is known of the primary."""

    def __init__(self, on_left: Callable[[], None]) -> None:
        """``on_left``: called when connections made until now are no good any more."""
        super().__init__()
        # Connections opened before are of a server that only reads.
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
