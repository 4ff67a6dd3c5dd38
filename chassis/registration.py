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

from chassis import calls
from chassis.calls import Call
from chassis.errors import InvalidFields, MethodUnknown
from chassis.interceptors import Context, Handler, Interceptor, Method, compose
from chassis.interceptors.envelope import Envelope, Prepare
from chassis.interceptors.validation import Validation

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
    """Finds the handler of a method by its full name and opens the record of the call."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._find = dict(handlers).get

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of the method called, or None."""
        name = handler_call_details.method
        handler = self._find(name)
        if handler is not None:
            # The look-up runs in the task of the call, so the handler sees what is set here.
            calls.enter(Call(name, handler_call_details.invocation_metadata))
        return handler


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers what no other handler knows with UNIMPLEMENTED and its reason; registered last."""

    def __init__(self, envelope: Envelope) -> None:
        # A stream handler runs before the first message, so any shape of call is answered.
        refusing = envelope.stream(_pass, _refuse)
        self._handler: Any = grpc.stream_stream_rpc_method_handler(cast("Any", refusing))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the refusing handler; the name is the caller's to choose, so it is not logged."""
        calls.enter(Call("unknown", handler_call_details.invocation_metadata))
        return self._handler


def _pass(request: Any) -> Any:
    return request


async def _refuse(_: Any, __: Context) -> Any:
    raise MethodUnknown


@dataclass(frozen=True)
class Composer:
    """Builds the handler of a method: envelope, decoding, validation, interceptors, servicer."""

    envelope: Envelope
    validation: Validation
    interceptors: Sequence[Interceptor] = ()

    def router(self, services: Mapping[str, Mapping[str, Any]]) -> Router:
        """Compose every method of every service."""
        return Router(
            {
                f"/{service}/{name}": self._compose(f"/{service}/{name}", handler)
                for service, handlers in services.items()
                for name, handler in handlers.items()
            }
        )

    def _compose(self, name: str, registered: Any) -> Any:
        if registered.request_streaming:
            raise TypeError(f"{name}: request streams are not supported")
        return self._stream(name, registered) if registered.response_streaming else self._unary(name, registered)

    def _unary(self, name: str, registered: Any) -> Any:
        handler = compose(Method(name), registered.unary_unary, self.interceptors)
        prepare = self._prepare(registered.request_deserializer)
        composed = self.envelope.unary(prepare, handler, registered.response_serializer)
        return grpc.unary_unary_rpc_method_handler(cast("Any", composed))

    def _stream(self, name: str, registered: Any) -> Any:
        method = Method(name, streaming=True)
        handler = compose(method, _writing(registered.unary_stream), self.interceptors)
        composed = self.envelope.stream(self._prepare(registered.request_deserializer), handler)
        return grpc.unary_stream_rpc_method_handler(
            cast("Any", composed), response_serializer=registered.response_serializer
        )

    def _prepare(self, decode: Callable[[bytes], Any]) -> Prepare:
        check = self.validation.check(type(decode(b"")))

        def prepare(request: bytes) -> Any:
            # Decoded here and not by gRPC, which would answer a malformed request with UNKNOWN.
            try:
                message = decode(request)
            except DecodeError:
                raise InvalidFields(()) from None
            check(message)
            return message

        return prepare


def _writing(stream: Callable[[Any, Context], Any]) -> Handler:
    """Turn an async generator into a handler that writes its responses to the context."""
    if not inspect.isasyncgenfunction(stream):
        return stream

    async def handle(request: Any, context: Context) -> None:
        async with aclosing(stream(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return handle
