"""What happens around every handler, one concern per file, composed once per method.

A handler takes the request and the context and returns the response (None for a server stream, which
writes to the context itself), so that one wrapper serves unary and streaming methods alike. What every
call needs is in the flat ``envelope``; an ``Interceptor`` adds a concern inside it, around the decoded
request (``docs/decisions/0002-interceptors-as-composition.md``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method as registered: its full name (``/package.Service/Method``) and shape."""

    name: str
    streaming: bool = False


Interceptor: TypeAlias = Callable[[Method, Handler], Handler]


def compose(method: Method, handler: Handler, interceptors: Iterable[Interceptor]) -> Handler:
    """Wrap a handler; the first interceptor becomes the outermost."""
    for interceptor in reversed(tuple(interceptors)):
        handler = interceptor(method, handler)
    return handler
