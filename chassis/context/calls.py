"""The call being served: its id, its start, how long it may take, and how it ended."""

from __future__ import annotations

import itertools
import os
import re
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable

    from chassis.errors import ServiceError

REQUEST_ID_KEY: Final = "x-request-id"

_is_safe = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
# A random prefix per process and a counter are as unique as a UUID and cost a tenth of it.
_prefix: Final = os.urandom(9).hex() + "-"
_numbers: Final = itertools.count(1)


class Call:
    """One RPC in progress, shared by the interceptors and readable from the code they wrap.

    ``code`` and ``reason`` are the outcome (``OK`` until an error is mapped). ``cap`` is the server's
    limit in seconds, None for streams. ``repeats_id``: the request id is the caller's own, and every answer
    repeats it; one that we made up is sent only with errors, where people quote it.
    ``received``: its message has arrived. ``ended_by``: the error for which the server has cancelled ``task``.
    ``writing``: of a stream, it waits for its caller to take what was written. ``ending``: lets a stream be counted out
    and logged, with an error, before its handler has ended.
    ``asked``: of a method that does not exist, the name that was asked for.
    ``subjects``: the ids of those it is about, where calls of its method are audited.
    ``caller``: the name of who calls, as proven to a gate (``chassis.interceptors.gates``); None: nobody has asked yet.
    """

    # Defaults on the class: most calls never set them, and every attribute set costs every call.
    asked = ""
    caller: str | None = None
    cap: float | None = None
    code = "OK"
    # The server's span of this call and the id of its trace, where calls are traced.
    span: Any = None
    trace_id = ""
    context: Any = None
    ending: Callable[[ServiceError], None] | None = None
    ended_by: type[ServiceError] | None = None
    reason = ""
    received = False
    repeats_id = False
    subjects: tuple[str, ...] = ()
    task: Task[Any] | None = None
    writing = False

    def __init__(self, method: str, metadata: Any) -> None:
        self.method = method
        self.metadata = metadata
        self.started = monotonic()
        given = request_id_from(metadata)
        if given:
            self.request_id, self.repeats_id = given, True
        else:
            self.request_id = f"{_prefix}{next(_numbers)}"

    def close(self) -> None:
        """Let go of gRPC's objects, and of the time limit for work that outlives the call.

        The task holds this record in its context, so keeping the task here would make a cycle of every
        call, which only the garbage collector could free.
        """
        self.context = self.metadata = self.task = self.cap = self.ending = None

    def remaining(self) -> float | None:
        """Return the seconds until the caller's deadline or the cap; None when there is neither."""
        own: float | None = None if self.context is None else self.context.time_remaining()
        if self.cap is None:
            return own
        left = max(0.0, self.started + self.cap - monotonic())
        return left if own is None else min(own, left)


_current: Final[ContextVar[Call | None]] = ContextVar("call", default=None)

enter: Final = _current.set
current: Final = _current.get


def noting_writes(write: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Return the ``write`` of a stream such that the current call knows when it waits for its caller (``writing``)."""
    call = _current.get()
    if call is None:
        return write

    async def noted(response: Any) -> None:
        call.writing = True
        await write(response)
        call.writing = False

    return noted


def request_id() -> str:
    """Return the request id of the call being served, or "" outside of one."""
    call = _current.get()
    return call.request_id if call is not None else ""


def request_id_from(metadata: Any) -> str:
    """Return the caller's request id, or "" when there is none that is safe to log and repeat."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY:
            return value if isinstance(value, str) and _is_safe(value) else ""
    return ""
