"""From generated ``add_…Servicer_to_server`` functions to composed handlers and one router.

The handlers are served through a generic handler, not registered one by one: grpcio 1.85.1 makes a
waiter for every registered method on every call (grpc#41796).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from chassis.errors import InvalidFields, MethodUnknown
from chassis.interceptors import Context, Handler, Interceptor, Method, compose

# ``add_UserServiceServicer_to_server`` and the servicer to pass to it.
Registration: TypeAlias = tuple[Callable[[Any, Any], None], object]


@dataclass
class Recorder:
    """Stands in for a server and keeps what the generated functions register."""

    services: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add_generic_rpc_handlers(self, _: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignore the generic form: the same handlers come with their names in the other one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of one service."""
        self.services[service] = handlers


def record(registrations: Iterable[Registration]) -> dict[str, Mapping[str, Any]]:
    """Return the method handlers of each service, by full service name."""
    recorder = Recorder()
    for add, servicer in registrations:
        add(servicer, recorder)
    return recorder.services


class Router(grpc.GenericRpcHandler):
    """Finds the composed handler of a method by its full name."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._find = dict(handlers).get

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of the method called, or None."""
        return self._find(handler_call_details.method)


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers what no other handler knows with UNIMPLEMENTED and its reason; registered last."""

    def __init__(self, interceptors: Sequence[Interceptor]) -> None:
        async def refuse(_: Any, __: Context) -> Any:
            raise MethodUnknown

        # The name is the caller's to choose, so it stays out of logs and metrics.
        composed = compose(Method("unknown"), refuse, interceptors)
        # A stream handler runs before the first message, so any shape of call is answered.
        self._handler: Any = grpc.stream_stream_rpc_method_handler(cast(Any, composed))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the refusing handler, whatever the method."""
        return self._handler


def build_router(
    services: Mapping[str, Mapping[str, Any]],
    outer: Sequence[Interceptor],
    inner: Sequence[Interceptor],
) -> Router:
    """Compose every method: ``outer`` around the decoding of the request, ``inner`` inside it."""
    return Router(
        {
            f"/{service}/{name}": _compose(f"/{service}/{name}", handler, outer, inner)
            for service, handlers in services.items()
            for name, handler in handlers.items()
        }
    )


def _compose(
    name: str, registered: Any, outer: Sequence[Interceptor], inner: Sequence[Interceptor]
) -> Any:
    if registered.request_streaming:
        raise TypeError(f"{name}: request streams are not supported")
    method = Method(name, streaming=registered.response_streaming)
    if method.streaming:
        handler = _writing(registered.unary_stream)
        decoded = _decoding(compose(method, handler, inner), registered.request_deserializer)
        return grpc.unary_stream_rpc_method_handler(
            cast(Any, compose(method, decoded, outer)),
            response_serializer=registered.response_serializer,
        )
    handler = compose(method, registered.unary_unary, inner)
    coded = _coding(handler, registered.request_deserializer, registered.response_serializer)
    return grpc.unary_unary_rpc_method_handler(cast(Any, compose(method, coded, outer)))


def _writing(stream: Callable[[Any, Context], Any]) -> Handler:
    """Turn an async generator into a handler that writes its responses to the context."""
    if not inspect.isasyncgenfunction(stream):
        return stream

    async def handle(request: Any, context: Context) -> None:
        async with aclosing(stream(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return handle


def _decoding(handler: Handler, decode: Callable[[bytes], Any]) -> Handler:
    async def handle(request: bytes, context: Context) -> Any:
        return await handler(_decoded(decode, request), context)

    return handle


def _coding(
    handler: Handler, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]
) -> Handler:
    async def handle(request: bytes, context: Context) -> bytes:
        return encode(await handler(_decoded(decode, request), context))

    return handle


def _decoded(decode: Callable[[bytes], Any], request: bytes) -> Any:
    # Done here and not by gRPC, which would answer a malformed request with UNKNOWN.
    try:
        return decode(request)
    except DecodeError:
        raise InvalidFields(()) from None
