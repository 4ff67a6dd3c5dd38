"""Routes in the form in which ``grpc.aio`` takes them."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, NoReturn, cast

import grpc

from chassis.serving.transports import Routes, Served


class Asynchronous(partial[Awaitable[Any]]):
    """A unary handler that gRPC recognises at once as asynchronous.

    gRPC tests the handler twice for every call. It finds ``__await__`` first; for a plain function it
    calls ``inspect`` eight times, which costs more than waiting for the message ourselves.
    """

    def __await__(self) -> NoReturn:
        raise TypeError("a handler is called")


class RoutesOfGrpc(grpc.GenericRpcHandler):
    """Finds handlers by name for gRPC.

    They are not registered one by one: grpcio 1.85.1 makes a waiter for every registered method on every call
    (grpc#41796).
    """

    def __init__(self, routes: Routes) -> None:
        self._find = routes.find
        self._made = {served: _handler(served) for served in routes.served.values()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of the method called, or None; gRPC asks in the task of the call."""
        served = self._find(handler_call_details.method, handler_call_details.invocation_metadata)
        if served is None:
            return None
        return self._made.get(served) or _handler(served)


def _handler(served: Served) -> Any:
    """Return a handler that gRPC runs as soon as the headers of a call are there, since it takes a stream.

    See docs/decisions/0054-admission-from-the-headers-on.md.
    """
    if not served.streaming:
        return grpc.stream_unary_rpc_method_handler(cast("Any", Asynchronous(served.handle)))
    return grpc.stream_stream_rpc_method_handler(cast("Any", served.handle), response_serializer=served.encode)
