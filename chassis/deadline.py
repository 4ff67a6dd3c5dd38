"""How much time the current work has left, for the timeouts of what it calls in turn.

Inside a call that is the caller's deadline or the server's cap, whichever is first. Work done for
several calls at once (``chassis.coalesce``) sets its own limit. Asked lazily, because a call that needs
no timeout should not pay for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final

from chassis import calls

_own: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit what ``remaining`` answers inside the block to ``seconds`` from now."""
    token = _own.set(monotonic() + timeout(seconds))
    try:
        yield
    finally:
        _own.reset(token)


def remaining() -> float | None:
    """Return the seconds left (0 when past), or None when nothing limits the current work."""
    at = _own.get()
    if at is not None:
        return max(0.0, at - monotonic())
    call = calls.current()
    return None if call is None else call.remaining()


def timeout(limit: float) -> float:
    """Return the smaller of ``limit`` and the seconds left: the timeout of one call further down."""
    left = remaining()
    return limit if left is None else min(limit, left)
