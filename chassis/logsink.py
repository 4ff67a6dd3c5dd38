"""Where log lines go: one stream, written in batches so that a line costs no system call."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, Final

_FLUSH_AFTER_SECONDS: Final = 0.1
_FLUSH_AT_LINES: Final = 256


class LogSink:
    """Collects lines and writes them together, at the latest 0.1 s after the first.

    Warnings and worse are written at once, and so is everything outside an event loop. A line from
    another thread waits for the loop's timer if one runs, and is written at once otherwise.
    """

    def __init__(self, stream: BinaryIO, *, immediate: bool = False) -> None:
        self._stream = stream
        self._immediate = immediate
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: bytes) -> None:
        """Add a line (without its newline)."""
        lines = self._lines
        lines.append(line)
        if self._timer is None:
            self._start_timer()
        elif len(lines) >= _FLUSH_AT_LINES:
            self.flush()

    def write_now(self, line: bytes) -> None:
        """Add a line and write all that is waiting."""
        self._lines.append(line)
        self.flush()

    msg = debug = info = write
    warning = error = critical = exception = fatal = write_now

    def flush(self) -> None:
        """Write what is waiting; a stream that is gone loses lines and stops nothing."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        lines.append(b"")
        try:
            self._stream.write(b"\n".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the log went away (closed pipe, full disk): serving goes on.
            return

    def _start_timer(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._immediate:
            self.flush()
        else:
            self._timer = loop.call_later(_FLUSH_AFTER_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
