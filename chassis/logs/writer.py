"""The log writer: a thread of its own writes the lines, so that a stalled reader of the log blocks nothing else.

A pipe that nobody reads is full after 64 KiB, and the next write to it blocks. A non-blocking descriptor would avoid
that, but it would be non-blocking for all processes that share it (docs/decisions/0057-logs-that-never-block.md).
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

# Bytes that may wait to be written: some 1,500 lines. Further lines are dropped.
BACKLOG_BYTES: Final = 256 * 1024

# Makes the line, newline included, that says how many were dropped.
Tell = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines to write, their number, and how many lines had been dropped when these were taken."""

    lines: bytes
    count: int
    dropped: int


class LogWriter:
    """Writes lines to a file descriptor, in the order in which they come; ``put`` never blocks.

    ``dropped`` counts the lines that had no room, or could not be written. A line says how many they were as soon as
    something can be written again.
    """

    def __init__(self, descriptor: int, tell: Tell, *, backlog: int = BACKLOG_BYTES) -> None:
        self._output = _Output(descriptor)
        self._tell = tell
        self._backlog = backlog
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: list[bytes] = []
        self._waiting_count = 0
        # Of lines that wait and of lines that are being written.
        self._bytes = 0
        self._untold = 0
        self._fails = False
        self.dropped = 0

    def put(self, lines: bytes, count: int) -> None:
        """Take ``count`` whole lines, newlines included; drop them where there is no room."""
        with self._changed:
            if self._bytes and self._bytes + len(lines) > self._backlog:
                self._drop(count)
                return
            self._waiting.append(lines)
            self._waiting_count += count
            self._bytes += len(lines)
            if self._thread is None:
                # A daemon: the process must be able to end while a write waits.
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until everything is written, for ``seconds`` at most, and say whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes and not self._has_work(), seconds)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    def _has_work(self) -> bool:
        # While writing fails, only new lines are a reason to try again.
        return bool(self._waiting or (self._untold and not self._fails))

    def _run(self) -> None:
        while True:
            batch = self._take()
            told = self._tell(batch.dropped) if batch.dropped else b""
            self._end(batch, written=self._output.write(batch.lines + told))

    def _take(self) -> _Batch:
        with self._changed:
            self._changed.wait_for(self._has_work)
            # The lines that were dropped came after all that wait now, so their number is written after these.
            batch = _Batch(b"".join(self._waiting), self._waiting_count, self._untold)
            self._waiting, self._waiting_count, self._untold = [], 0, 0
            return batch

    def _end(self, batch: _Batch, *, written: bool) -> None:
        with self._changed:
            self._bytes -= len(batch.lines)
            self._fails = not written
            if not written:
                self._untold += batch.dropped
                self._drop(batch.count)
            self._changed.notify_all()


class _Output:
    """A file descriptor to which whole lines are written, beside other processes that do the same."""

    def __init__(self, descriptor: int) -> None:
        # A copy: once its owner has closed the file, the number may be given to another one.
        self._descriptor = os.dup(descriptor)
        self._is_pipe = stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        self._within_a_line = False

    def write(self, lines: bytes) -> bool:
        """Write lines, however long that takes; return False where the reader is gone."""
        if self._within_a_line:
            lines = b"\n" + lines
        done = 0
        with self._alone(), memoryview(lines) as view:
            while done < len(lines):
                try:
                    done += os.write(self._descriptor, view[done:])
                except BlockingIOError:
                    # Another process made the file that we share non-blocking.
                    self._wait_for_room()
                except OSError:
                    break
        if done:
            self._within_a_line = not lines.endswith(b"\n", 0, done)
        return done == len(lines)

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep processes that write to the same pipe apart: more than 4 KiB (PIPE_BUF) do not arrive in one piece."""
        if not self._is_pipe:
            yield
            return
        # Where locks are not supported, lines may mix, which is better than losing them.
        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
