"""A pause of the services of a running script/server, for whoever changes the databases under them.

Whoever wants a pause holds a lock. script/server looks at it, stops its services and removes their settings, which
says that they have stopped. Once the lock is free, also because its holder died, it starts them again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vibework.testing.local.problems import LocalProblem

from script.local import services

# script/server may still be migrating when it is asked, and its services may still have calls to finish.
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.05


def is_wanted(folder: Path) -> bool:
    """Say whether somebody wants a pause now."""
    with _lock_file(folder).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def over(folder: Path) -> Iterator[None]:
    """Wait for the end of the pause; nobody gets another one before the context ends."""
    with _lock_file(folder).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def paused(folder: Path, is_running: Callable[[], bool]) -> Iterator[None]:
    """Have no service run for as long as the context lasts, and wait afterwards until script/server goes on.

    Raises `LocalProblem` where the services go on.
    """
    with over(folder):
        _wait(lambda: not services.are_told(folder), "script/server did not stop its services")
        yield
    _wait(lambda: services.are_told(folder) or not is_running(), "script/server did not start its services again")


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise LocalProblem(f"{otherwise} within {PATIENCE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _lock_file(folder: Path) -> Path:
    return folder / "pause.lock"
