"""Request id: taken from ``x-request-id`` or made up, kept for logs and calls, and sent back.

It returns as trailing metadata, of success and error alike, so that a caller can quote it.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import Any, Final

from chassis import calls
from chassis.interceptors import Context, Handler, Interceptor, Method

KEY: Final = "x-request-id"
_is_valid = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch


def request_id() -> Interceptor:
    """Make the interceptor; it must be the outermost, because the others read the call it opens."""
    generate = _generator()

    def intercept(method: Method, handler: Handler) -> Handler:
        name = method.name

        async def handle(request: Any, context: Context) -> Any:
            given = from_metadata(context.invocation_metadata())
            identifier = given or generate()
            calls.enter(calls.Call(name, identifier))
            context.set_trailing_metadata(((KEY, identifier),))
            return await handler(request, context)

        return handle

    return intercept


def from_metadata(metadata: Any) -> str:
    """Return the caller's request id, or "" when there is none that is safe to log and repeat."""
    for key, value in metadata or ():
        if key == KEY:
            return value if isinstance(value, str) and _is_valid(value) else ""
    return ""


def _generator() -> Any:
    # A random prefix per process and a counter are as unique as a UUID and cost a tenth of it.
    prefix = os.urandom(9).hex()
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers):x}"
