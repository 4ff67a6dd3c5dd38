"""From generated ``add_…Servicer_to_server`` functions to composed handlers and one router."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from chassis.context import calls
from chassis.context.calls import Call
from chassis.contract import nesting
from chassis.contract.unbuilt import UnbuiltFields, refusal
from chassis.errors import AnswerTooLarge, InvalidFields, NotImplementedYet
from chassis.interceptors import Context, Handler, Method
from chassis.interceptors.envelope import Envelope, Prepare
from chassis.interceptors.validation import check_of
from chassis.serving.goodbye import Goodbye
from chassis.serving.transports import Served

# ``add_UserServiceServicer_to_server`` and the servicer to pass to it.
Registration: TypeAlias = tuple[Callable[[Any, Any], None], object]
P = ParamSpec("P")
T = TypeVar("T")


def partly_built(servicer: Callable[P, T]) -> Callable[P, T]:
    """Return what makes a servicer that lacks methods of the contract: those answer NOT_IMPLEMENTED.

    The types of generated classes take such a servicer for abstract; called through here it is allowed, and said.
    """
    return servicer


@dataclass
class Recorder:
    """Stands in for a server and keeps what the generated functions register."""

    services: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add_generic_rpc_handlers(self, _: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignore the generic form: the same handlers come with their names in the other one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of one service; a method that no servicer has refuses every call.

        Several servicers may each have some of its methods; of two that have the same, the first counts.
        """
        new = {name: _built_or_refusing(handler) for name, handler in handlers.items()}
        built = {name: kept for name, kept in self.services.get(service, {}).items() if not is_unbuilt(kept)}
        self.services[service] = new | built


def record(registrations: Iterable[Registration]) -> dict[str, Mapping[str, Any]]:
    """Return the method handlers of each service, by full service name."""
    recorder = Recorder()
    for add, servicer in registrations:
        add(servicer, recorder)
    return recorder.services


def unbuilt_services(services: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the services none of whose methods is built."""
    return frozenset(name for name, handlers in services.items() if all(map(is_unbuilt, handlers.values())))


def is_unbuilt(handler: Any) -> bool:
    """Say whether a recorded handler refuses every call, because no servicer has its method yet."""
    return _behaviour(handler) is refuse


async def refuse(_request: object, _context: object) -> None:
    """Answer that the method is not built yet."""
    raise NotImplementedYet(None)


def _built_or_refusing(handler: Any) -> Any:
    function = getattr(_behaviour(handler), "__func__", None)
    # The method of the generated class, which a servicer that has one of its own hides.
    if function is None or not function.__module__.endswith("_pb2_grpc"):
        return handler
    make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return make(refuse, handler.request_deserializer, handler.response_serializer)


def _behaviour(handler: Any) -> Any:
    return handler.unary_stream if handler.response_streaming else handler.unary_unary


class Router:
    """Finds a method by its full name and opens the record of the call."""

    def __init__(self, served: Mapping[str, Served]) -> None:
        self.served = dict(served)
        self._find: Callable[[str], Served | None] = self.served.get

    def hold(self, goodbye: Goodbye) -> None:
        """Have calls that come from now on wait until goodbye was said."""
        find = self._find
        self._find = lambda name: goodbye.hold(find(name))

    def find(self, name: str, metadata: Any) -> Served | None:
        """Return the method called, or None."""
        served = self._find(name)
        if served is not None:
            # The look-up runs in the task of the call, so the handler sees what is set here.
            calls.enter(Call(name, metadata))
        return served


@dataclass(frozen=True)
class Composer:
    """Builds the handler of a method: envelope, decoding, validation, servicer."""

    envelope: Envelope
    # Bytes of the largest message that gRPC sends. A larger one would fail after the envelope has counted the call OK.
    max_message_bytes: int = 1 << 30
    unbuilt_fields: UnbuiltFields = field(default_factory=dict)
    # Puts something around the servicer's handler of a method, by the method's name.
    around: Callable[[str, Handler], Handler] = field(default=lambda _, handler: handler)

    def router(self, services: Mapping[str, Mapping[str, Any]]) -> Router:
        """Compose every method of every service."""
        return Router(
            {
                f"/{service}/{name}": self._compose(f"/{service}/{name}", handler)
                for service, handlers in services.items()
                for name, handler in handlers.items()
            }
        )

    def _compose(self, name: str, registered: Any) -> Served:
        if registered.request_streaming:
            raise TypeError(f"{name}: request streams are not supported")
        method = Method(name, streaming=registered.response_streaming)
        return self._stream(method, registered) if method.streaming else self._unary(method, registered)

    def _unary(self, method: Method, registered: Any) -> Served:
        prepare, encode = self.prepare(registered.request_deserializer), self._encode(registered.response_serializer)
        handler = self.around(method.name, registered.unary_unary)
        return Served(self.envelope.unary(method, prepare, handler, encode))

    def _stream(self, method: Method, registered: Any) -> Served:
        prepare, encode = self.prepare(registered.request_deserializer), self._encode(registered.response_serializer)
        handler = self.around(method.name, writing(registered.unary_stream))
        return Served(self.envelope.stream(method, prepare, handler), streaming=True, encode=encode)

    def _encode(self, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        most = self.max_message_bytes

        def bounded(response: Any) -> bytes:
            content = encode(response)
            if len(content) > most:
                raise AnswerTooLarge
            return content

        return bounded

    def prepare(self, decode: Callable[[bytes], Any]) -> Prepare:
        """Return a function that turns the bytes of a request into a valid message.

        It raises InvalidFields, or NotImplementedYet for one that asks for what is not built.
        """
        kind = type(decode(b""))
        check, refuse_unbuilt = check_of(kind), refusal(kind, self.unbuilt_fields)

        def prepare(request: bytes) -> Any:
            # Decoded here and not by gRPC, which would answer a malformed request with UNKNOWN.
            try:
                message = decode(request)
            except DecodeError:
                raise InvalidFields(nesting.violations(kind.DESCRIPTOR, request)) from None
            check(message)
            if refuse_unbuilt is not None:
                refuse_unbuilt(message)
            return message

        return prepare


def writing(stream: Callable[[Any, Context], Any]) -> Handler:
    """Turn an async generator into a handler that writes its responses to the context."""
    if not inspect.isasyncgenfunction(stream):
        return stream

    async def handle(request: Any, context: Context) -> None:
        write = calls.noting_writes(context.write)
        async with aclosing(stream(request, context)) as responses:
            async for response in responses:
                await write(response)

    return handle
