"""How much time the call being served has left, for the timeouts of what it calls in turn."""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from typing import Final

_deadline: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)


def set_remaining(seconds: float | None) -> Token[float | None]:
    """Start the clock of the current context: ``seconds`` from now, or no limit for None."""
    return _deadline.set(None if seconds is None else time.monotonic() + seconds)


def reset(token: Token[float | None]) -> None:
    """Put back what ``set_remaining`` replaced."""
    _deadline.reset(token)


def remaining() -> float | None:
    """Return the seconds left (0 when past), or None when the context has no deadline."""
    at = _deadline.get()
    return None if at is None else max(0.0, at - time.monotonic())


def timeout(limit: float) -> float:
    """Return the smaller of ``limit`` and the seconds left: the timeout of one call further down."""
    at = _deadline.get()
    return limit if at is None else max(0.0, min(limit, at - time.monotonic()))
