"""The record of the call being served: who it is (request id) and how it ended."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final


class Call:
    """One RPC in progress, shared by the interceptors and readable from the code they wrap."""

    __slots__ = ("code", "method", "reason", "request_id")

    def __init__(self, method: str, request_id: str) -> None:
        self.method = method
        self.request_id = request_id
        self.code = "OK"
        self.reason = ""


_current: Final[ContextVar[Call | None]] = ContextVar("call", default=None)

enter = _current.set


def current() -> Call | None:
    """Return the call being served, or None outside of one (background work, start-up)."""
    return _current.get()


def request_id() -> str:
    """Return the request id of the call being served, or "" outside of one."""
    call = _current.get()
    return call.request_id if call is not None else ""
