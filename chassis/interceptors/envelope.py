"""The envelope of every call: admission, error mapping, request id and access log around a handler.

The concerns live in files of their own; this one calls them in order. It is one coroutine and not a
chain of them because each link costs every call 3 to 9 µs of cold cache (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chassis import calls
from chassis.calls import REQUEST_ID_KEY, Call
from chassis.interceptors import Context, Handler
from chassis.interceptors.errors import fail
from chassis.interceptors.in_flight import InFlight

# Told of every call when it has ended: the access log, metrics.
Observer = Callable[[Call], None]
# Turns the bytes of a request into a valid message, or raises a domain error.
Prepare = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


@dataclass(frozen=True)
class Envelope:
    """Makes the outermost handlers of unary and streaming methods."""

    in_flight: InFlight
    observers: Sequence[Observer] = ()
    # Told of every call at its beginning, in the call's own task: tracing.
    begin: Observer | None = None

    def unary(self, prepare: Prepare, handler: Handler, encode: Encode) -> Handler:
        """Wrap a unary handler; the cap on its duration applies."""
        admit, finish = self.in_flight.admit, self._finish(self.in_flight.release)
        entered = self._entering()

        async def handle(request: bytes, context: Context) -> Any:
            call = entered(context)
            try:
                admit(call)
                return encode(await handler(prepare(request), context))
            except BaseException as error:  # noqa: BLE001 - fail() re-raises what it does not map
                await fail(call, context, error)
            finally:
                finish(call)

        return handle

    def stream(self, prepare: Prepare, handler: Handler) -> Handler:
        """Wrap a handler that writes a stream."""
        admit, finish = self.in_flight.admit_stream, self._finish(self.in_flight.release_stream)
        entered = self._entering()

        async def handle(request: bytes, context: Context) -> None:
            call = entered(context)
            try:
                admit(call)
                await handler(prepare(request), context)
            except BaseException as error:  # noqa: BLE001 - fail() re-raises what it does not map
                await fail(call, context, error)
            finally:
                finish(call)

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

    def _finish(self, release: Observer) -> Observer:
        return in_turn((release, *self.observers, Call.close))


def _entered(context: Context) -> Call:
    """Return the call that the router opened, now with its context; repeat the request id it came with."""
    call = calls.current()
    if call is None:
        raise RuntimeError("the router opens the call")
    call.context = context
    if call.repeats_id:
        context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
    return call


def in_turn(steps: Sequence[Observer]) -> Observer:
    """Return one observer that does all steps; without a loop at run time."""
    if len(steps) == 1:
        return steps[0]
    first, rest = steps[0], in_turn(steps[1:])

    def both(call: Call) -> None:
        first(call)
        rest(call)

    return both
