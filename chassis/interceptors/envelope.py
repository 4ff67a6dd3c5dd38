"""The envelope of every call: admission, error mapping, request id and access log around a handler.

The concerns live in files of their own; this one calls them in order. It is one coroutine and not a chain of
them, because each link costs every call (docs/decisions/0002-one-envelope.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from grpc.aio import EOF

from chassis.context import calls
from chassis.context.calls import REQUEST_ID_KEY, Call
from chassis.errors import InvalidFields, ServiceError
from chassis.interceptors import Context, Handler, Method
from chassis.interceptors.errors import fail, note
from chassis.interceptors.gates import Gate, GateCheck, bind
from chassis.interceptors.in_flight import InFlight
from chassis.slices import Slices

# Called with every call that has ended; used for the access log and metrics.
Observer = Callable[[Call], None]
# Turns the bytes of a request into a valid message, or raises a domain error.
Prepare = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]
# gRPC reports that a caller has gone by the end of its messages and by a cancellation, which may come a moment later.
_GONE_SECONDS: Final = 0.01
# A request of so many bytes is one of many items, which take protovalidate 10 µs each.
LARGE_BYTES: Final = 16_384
_Serve = Callable[[Call, Any, Context], Awaitable[None]]


class _Ending:
    """Counts a stream out and tells the observers, once: when its work has ended, whoever still has to take what of it.

    The status of a stream waits behind what its caller has not taken, for as long as the connection lives.
    """

    __slots__ = ("_call", "_endings", "_over")

    def __init__(self, call: Call, endings: Sequence[Observer]) -> None:
        self._call = call
        self._endings = endings
        self._over = False

    def __call__(self, error: ServiceError | None = None) -> None:
        if self._over:
            return
        self._over = True
        if error is not None:
            note(self._call, error)
        for end in self._endings:
            end(self._call)


@dataclass(frozen=True)
class Envelope:
    """Makes the outermost handlers of unary and streaming methods.

    To gRPC all of them take a stream of requests, because it runs such a handler as soon as the headers have arrived.
    So a call can be counted, refused and ended while its message is still awaited
    (docs/decisions/0054-admission-from-the-headers-on.md).
    """

    in_flight: InFlight
    observers: Sequence[Observer] = ()
    # Called at the beginning of every call, in the call's own task; used for tracing.
    begin: Observer | None = None
    # What may refuse a call that was admitted, by its headers alone.
    gates: Sequence[Gate] = ()
    # One large request is decoded and checked in a turn of the loop.
    slices: Slices = field(default_factory=Slices)

    def unary(self, method: Method, prepare: Prepare, handler: Handler, encode: Encode) -> Handler:
        """Wrap a unary handler; the cap on its duration applies."""
        entered, checks = self._entering(), self._checks(self.in_flight.admit, method)
        endings = self._endings(self.in_flight.release)

        async def handle(_: Any, context: Context) -> Any:
            call = entered(context)
            try:
                for check in checks:
                    check(call)
                if (request := await context.read()) is EOF:
                    await _without_message()
                call.received = True
                if len(request) < LARGE_BYTES:
                    return encode(await handler(prepare(request), context))
                (message,) = await self.slices.map(prepare, (request,))
                return encode(await handler(message, context))
            except BaseException as error:  # noqa: BLE001 - fail() re-raises what it does not map
                await fail(call, context, error)
            finally:
                for end in endings:
                    end(call)

        return handle

    def stream(self, method: Method, prepare: Prepare, handler: Handler) -> Handler:
        """Wrap a handler that writes a stream; the cap applies until its message has come."""
        opened = self.in_flight.opened

        async def serve(call: Call, _: Any, context: Context) -> None:
            if (request := await context.read()) is EOF:
                await _without_message()
            call.received = True
            opened(call)
            await handler(prepare(request), context)

        checks = self._checks(self.in_flight.admit_stream, method)
        return self._around(serve, checks, self.in_flight.release_stream)

    def conversation(self, method: Method, handler: Handler) -> Handler:
        """Wrap a handler that reads requests by itself, and may answer before the first; limited like a unary one."""

        async def serve(_: Call, requests: Any, context: Context) -> None:
            await handler(requests, context)

        return self._around(serve, self._checks(self.in_flight.admit, method), self.in_flight.release)

    def _around(self, serve: _Serve, checks: Sequence[GateCheck], release: Observer) -> Handler:
        entered, endings = self._entering(), self._endings(release)

        async def handle(requests: Any, context: Context) -> None:
            call = entered(context)
            ending = call.ending = _Ending(call, endings)
            try:
                for check in checks:
                    check(call)
                await serve(call, requests, context)
            except BaseException as error:  # noqa: BLE001 - fail() re-raises what it does not map
                await fail(call, context, error, ending)
            else:
                ending()

        return handle

    def _entering(self) -> Callable[[Context], Call]:
        begin = self.begin
        if begin is None:
            return _entered

        def entered(context: Context) -> Call:
            call = _entered(context)
            begin(call)
            return call

        return entered

    def _checks(self, admit: GateCheck, method: Method) -> tuple[GateCheck, ...]:
        """Return what a call must pass: admission first, so that one that a gate refuses has had a place, too."""
        return admit, *bind(self.gates, method)

    def _endings(self, release: Observer) -> tuple[Observer, ...]:
        return release, *self.observers, Call.close


def _entered(context: Context) -> Call:
    """Return the call that the router opened, now with its context; repeat the request id it came with."""
    call = calls.current()
    if call is None:
        raise RuntimeError("the router opens the call")
    call.context = context
    if call.repeats_id:
        context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
    return call


async def _without_message() -> NoReturn:
    """End a call that ended before its first message; if the caller has gone, the cancellation comes meanwhile."""
    await asyncio.sleep(_GONE_SECONDS)
    raise InvalidFields(())
