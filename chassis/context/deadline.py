"""Deadlines: how much time the current work has left, for the timeouts of what it calls in turn.

Inside a call that is the time until the caller's deadline or the server's cap, whichever is first. Work that serves
several callers (``chassis.batching.coalesce``), or that goes on without its caller (``chassis.pooling.detached``), has
only the limits that it sets itself. The time is computed when it is asked for: a call that needs no timeout pays
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final

from chassis.context import calls

_own: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)
# Whether ``_own`` is a part of a caller's time, or else a limit that work which is alone has set itself.
_of_caller: Final[ContextVar[bool]] = ContextVar("of_caller", default=True)
_alone: Final[ContextVar[bool]] = ContextVar("alone", default=False)

is_alone: Final = _alone.get


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit what ``remaining`` answers inside the block to ``seconds`` from now."""
    until, outer = monotonic() + seconds, _own.get()
    token = _own.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        _own.reset(token)


@contextmanager
def alone(seconds: float) -> Iterator[None]:
    """Limit the work inside the block to ``seconds``, and ignore the deadline of the call that it runs in."""
    token, of_caller = _alone.set(True), _of_caller.set(False)
    try:
        with within(seconds):
            yield
    finally:
        _of_caller.reset(of_caller)
        _alone.reset(token)


def leave_caller() -> None:
    """From here on, give the current task the limits of ``within`` only, not those of the call that it began in.

    What the caller set by ``within`` stays a part of its time.
    """
    _alone.set(True)


def remaining() -> float | None:
    """Return the seconds left (0 when past), or None when nothing limits the current work."""
    at = _own.get()
    own = None if at is None else max(0.0, at - monotonic())
    if _alone.get():
        return own
    call = calls.current()
    of_call = None if call is None else call.remaining()
    if own is None or of_call is None:
        return of_call if own is None else own
    return min(own, of_call)


def timeout(limit: float) -> float:
    """Return the smaller of ``limit`` and the seconds left: the timeout of one call further down."""
    left = remaining()
    return limit if left is None else min(limit, left)


def has_passed() -> bool:
    """Say whether a caller's time is up, or the part of it that ``within`` gives; work that is alone has no caller."""
    left = remaining() if _of_caller.get() else None
    return left is not None and left <= 0.001
