"""The log sink: lines of all loggers go to one stream, in batches to save system calls, and nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
from typing import BinaryIO, Final, Protocol

from chassis.logs.writer import LogWriter, Tell

_HAND_OVER_AFTER_SECONDS: Final = 0.1
_HAND_OVER_AT_LINES: Final = 256
# How long a process that ends waits until its log is written, in case that the reader of the log stalls.
FLUSH_SECONDS: Final = 1.0


class Writer(Protocol):
    """Takes the lines that the sink has collected."""

    dropped: int

    def put(self, lines: bytes, count: int) -> None:
        """Take ``count`` whole lines."""

    def wait(self, seconds: float) -> bool:
        """Wait until they are written, for ``seconds`` at most."""


class LogSink:
    """Collects lines and hands them over together, at the latest 0.1 s after the first; a thread writes them.

    Warnings and worse are handed over at once, and so is everything outside an event loop. A line from another thread
    waits for the loop's timer if one runs, and is handed over at once otherwise.
    """

    def __init__(self, stream: BinaryIO, tell: Tell, *, immediate: bool = False) -> None:
        self._writer = _writer(stream, tell)
        self._immediate = immediate
        # Libraries and exporters log from threads of their own.
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """How many lines were lost because the reader of the log stalled, or is gone."""
        return self._writer.dropped

    def write(self, line: bytes) -> None:
        """Add a line (without its newline)."""
        with self._lock:
            self._lines.append(line)
            waiting = len(self._lines)
        if self._timer is None:
            self._start_timer()
        elif waiting >= _HAND_OVER_AT_LINES:
            self._hand_over()

    def write_now(self, line: bytes) -> None:
        """Add a line and hand over all that is waiting."""
        with self._lock:
            self._lines.append(line)
        self._hand_over()

    msg = debug = info = write
    warning = error = critical = exception = fatal = write_now

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is written, for ``seconds`` at most, and say whether it is; not for an event loop."""
        self._hand_over()
        return self._writer.wait(seconds)

    def _hand_over(self) -> None:
        # Handed over within the lock, or lines of two threads would change places.
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                lines.append(b"")
                content = b"\n".join(lines)
                self._writer.put(content, content.count(b"\n"))

    def _start_timer(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._hand_over()
            return
        if self._immediate:
            self._hand_over()
        else:
            self._timer = loop.call_later(_HAND_OVER_AFTER_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._hand_over()


class _Memory:
    """Writes to a stream in memory, without a file descriptor, which never blocks."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.dropped = 0

    def put(self, lines: bytes, count: int) -> None:
        try:
            self._stream.write(lines)
        except ValueError:
            # It was closed.
            self.dropped += count

    def wait(self, _seconds: float) -> bool:
        return True


def _writer(stream: BinaryIO, tell: Tell) -> Writer:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return _Memory(stream)
    return LogWriter(descriptor, tell)
