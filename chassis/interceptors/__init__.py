"""Interceptors: the concerns around every handler, one in each file, composed once per method.

A handler takes the request and the context and returns the response (None for a server stream, which
writes to the context itself). All that a call needs is in the flat ``envelope``; what may refuse a call before its
message is decoded is one of the ``gates`` (``docs/decisions/0002-one-envelope.md``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class NotWritten(Exception):
    """The caller has left while a message was written to it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method as registered: its full name (``/package.Service/Method``) and shape."""

    name: str
    streaming: bool = False
