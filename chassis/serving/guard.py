"""A watchdog: it ends a process that was told to end, or whose event loop has stopped turning, whatever hangs in it.

A thread of its own receives SIGTERM and SIGINT, which are blocked in all others, so signals are handled while the
event loop is blocked; another one acts on them and looks at the loop. In case that this hangs, too, two timers of the
kernel end the process without the interpreter (docs/decisions/0055-how-a-process-ends.md).
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from chassis.logs import logging

# Exit codes; docs/operations.md lists them all.
EXIT_DEAF: Final = 3
EXIT_STUCK: Final = 4
EXIT_STOPPED_AT_ONCE: Final = 130

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# Time for closing, after the calls in flight have ended or a second signal has come.
CLOSE_SECONDS: Final = 3.5
_AT_ONCE_SECONDS: Final = 1.0
# How long writing the last log line may take: the reader of the log may be what hangs.
_WORDS_SECONDS: Final = 0.4
# How much later than the thread the kernel's timer ends the process.
_KERNEL_LATER_SECONDS: Final = 0.8
# Processor time that C code may use without releasing the interpreter lock.
_HELD_SECONDS: Final = 5.0
_TICK_SECONDS: Final = 0.25
_FRAMES: Final = 12


class Guard:
    """Receives the signals of a process and watches its event loop.

    ``patience``: seconds from the first signal until the process is ended by force; ``deaf``: seconds without a turn of
    the event loop after which the process is ended, 0: never.
    """

    # Writes the log lines that wait; set once there is a log.
    flush: Callable[[], object] | None = None

    def __init__(self, patience: float, *, deaf: float = 0.0) -> None:
        # Set in the loop by the first signal, and by the second.
        self.stop = asyncio.Event()
        self.stop_now = asyncio.Event()
        self._patience = patience
        self._deaf = deaf
        self._signals = 0
        self._deadline: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._turns = 0

    def start(self) -> None:
        """Receive the signals from now on, for good; call it in the main thread before there are others."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._receive, name="signals", daemon=True).start()
        threading.Thread(target=self._run, name="guard", daemon=True).start()

    def attach(self) -> None:
        """Pass signals on to the running event loop, earlier ones included, and watch that it turns."""
        self._loop = asyncio.get_running_loop()
        self._turn()
        self._tell()

    def expect_end(self, seconds: float | None = None) -> None:
        """End the process by force if it has not ended by itself within ``seconds``, or ``patience`` where None.

        If called twice, the earlier limit holds.
        """
        now = monotonic()
        limit = now + (self._patience if seconds is None else seconds)
        self._deadline = limit if self._deadline is None else min(self._deadline, limit)
        signal.setitimer(signal.ITIMER_REAL, max(0.0, self._deadline - now) + _KERNEL_LATER_SECONDS)

    def detach(self) -> None:
        """Stop watching the loop, which has ended; the interpreter has the rest of ``patience`` to end."""
        self._loop = None
        self.expect_end()

    def _turn(self) -> None:
        self._turns += 1
        if self._loop is not None:
            self._loop.call_later(2 * _TICK_SECONDS, self._turn)

    def _tell(self) -> None:
        for event in (self.stop, self.stop_now)[: self._signals]:
            event.set()

    def _receive(self) -> None:
        # Without a time limit: at its end `sigtimedwait` returns a signal that nobody sent where the process had been
        # stopped and went on (SIGSTOP, SIGCONT), since CPython does not look whether there was one.
        while True:
            self._received.put(signal.sigwaitinfo(SIGNALS).si_signo)

    def _run(self) -> None:
        quiet, seen, before = 0.0, 0, monotonic()
        while True:
            # This thread sets it anew again and again, so it goes off only where the thread cannot run.
            signal.setitimer(signal.ITIMER_PROF, min(_HELD_SECONDS, self._patience))
            heard = self._next_signal()
            # A process that was itself stopped for a while (SIGSTOP) must not take the pause for silence.
            now = monotonic()
            quiet, before = quiet + min(now - before, 2 * _TICK_SECONDS), now
            if heard is not None:
                self._heard()
            if self._turns != seen or self._loop is None:
                quiet, seen = 0.0, self._turns
            self._judge(now, quiet)

    def _next_signal(self) -> int | None:
        try:
            return self._received.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return None

    def _heard(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self.expect_end()
        elif self._signals == 2:
            self.expect_end(_AT_ONCE_SECONDS)
        else:
            os._exit(EXIT_STOPPED_AT_ONCE)
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._tell)

    def _judge(self, now: float, quiet: float) -> None:
        if self._deadline is not None and now >= self._deadline:
            if self._signals > 1:
                self._end(EXIT_STOPPED_AT_ONCE, "ended by a second signal")
            self._end(EXIT_STUCK, "did not end in time", seconds=self._patience, at=_place_of_main())
        if self._deaf and quiet >= self._deaf:
            self._end(EXIT_DEAF, "the event loop hangs", seconds=self._deaf, at=_place_of_main())

    def _end(self, code: int, event: str, **facts: Any) -> None:
        """End the process now; a thread, which may hang, too, has a moment to write a line to the log."""

        def say() -> None:
            logging.get("chassis.serving.guard").error(event, exit_code=code, **facts)
            if self.flush is not None:
                self.flush()

        words = threading.Thread(target=say, name="last words", daemon=True)
        words.start()
        words.join(_WORDS_SECONDS)
        os._exit(code)


def _place_of_main() -> list[str]:
    """Return where the main thread is: files, lines and functions, the innermost last; no values."""
    # The one way to see the stack of another thread; CPython documents it for finding deadlocks.
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    stack = traceback.extract_stack(frame)[-_FRAMES:] if frame is not None else []
    return [f"{place.filename}:{place.lineno} {place.name}" for place in stack]
