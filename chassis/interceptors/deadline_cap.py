"""Deadline cap: no call runs longer than its own deadline or the server's cap, whichever is first.

gRPC cancels the handler at the caller's deadline; this adds the cap for callers with none or a longer
one, and tells the code below how long is left (``chassis.deadline``). Streams have no cap, only the
deadline that their caller set.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chassis import deadline
from chassis.errors import CallDeadlineExceeded
from chassis.interceptors import Context, Handler, Interceptor, Method


def deadline_cap(cap: float) -> Interceptor:
    """Make the interceptor; ``cap`` in seconds."""

    def intercept(method: Method, handler: Handler) -> Handler:
        return _tell_stream(handler) if method.streaming else _cap_unary(handler, cap)

    return intercept


def _tell_stream(handler: Handler) -> Handler:
    async def handle(request: Any, context: Context) -> Any:
        deadline.set_remaining(context.time_remaining())
        return await handler(request, context)

    return handle


def _cap_unary(handler: Handler, cap: float) -> Handler:
    async def handle(request: Any, context: Context) -> Any:
        own = context.time_remaining()
        seconds = cap if own is None or own > cap else own
        deadline.set_remaining(seconds)
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                return await handler(request, context)
        except TimeoutError:
            if timer.expired():
                raise CallDeadlineExceeded from None
            raise

    return handle
