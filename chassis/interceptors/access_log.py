"""Access log: one line per RPC with method, code, duration, peer, request id and error reason.

Never a body, and of the metadata only the request id.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from chassis import calls
from chassis.interceptors import Context, Handler, Interceptor, Method

Write = Callable[[dict[str, Any]], None]


def access_log(write: Write | None) -> Interceptor:
    """Make the interceptor; ``write`` None (the level is off) leaves handlers as they are."""

    def intercept(method: Method, handler: Handler) -> Handler:
        if write is None:
            return handler

        async def handle(request: Any, context: Context) -> Any:
            started = perf_counter()
            try:
                return await handler(request, context)
            finally:
                write(_line(context, perf_counter() - started))

        return handle

    return intercept


def _line(context: Context, seconds: float) -> dict[str, Any]:
    call = calls.current()
    assert call is not None
    fields: dict[str, Any] = {
        "method": call.method,
        "code": call.code,
        "ms": round(seconds * 1000, 3),
        "peer": context.peer(),
        "request_id": call.request_id,
    }
    if call.reason:
        fields["reason"] = call.reason
    return fields
