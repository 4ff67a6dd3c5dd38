"""Shows that a step runs: a spinner with the seconds on a terminal, plain lines elsewhere."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SPINNER = "|/-\\"
INTERVAL_SECONDS = 0.2
NOTEWORTHY_SECONDS = 1.0


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show `text` while the body runs, and how long it took where that is over a second."""
    started = time.monotonic()
    ended = threading.Event()
    shown = _spin(text, started, ended) if sys.stderr.isatty() else None
    if shown is None:
        print(text, file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        _finish(ended, shown, "")
        raise
    elapsed = time.monotonic() - started
    if shown is not None:
        _finish(ended, shown, f"+ {text} ({elapsed:.1f} s)\n")
    elif elapsed > NOTEWORTHY_SECONDS:
        print(f"{text}: done in {elapsed:.1f} s", file=sys.stderr, flush=True)


def _spin(text: str, started: float, ended: threading.Event) -> threading.Thread:
    def draw() -> None:
        for mark in itertools.cycle(SPINNER):
            print(f"\r{mark} {text} {time.monotonic() - started:.0f} s ", end="", file=sys.stderr, flush=True)
            if ended.wait(INTERVAL_SECONDS):
                return

    thread = threading.Thread(target=draw, name="spinner", daemon=True)
    thread.start()
    return thread


def _finish(ended: threading.Event, shown: threading.Thread | None, line: str) -> None:
    ended.set()
    if shown is not None:
        shown.join()
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
