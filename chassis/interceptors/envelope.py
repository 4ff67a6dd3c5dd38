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


@dataclass(frozen=True)
class Envelope:
    """Makes the outermost handlers of unary and streaming methods."""

    in_flight: InFlight
    observers: Sequence[Observer] = ()

    def unary(self, handler: Handler) -> Handler:
        """Wrap a unary handler; the cap on its duration applies."""
        return self._wrap(handler, self.in_flight.admit, self.in_flight.release)

    def stream(self, handler: Handler) -> Handler:
        """Wrap a handler that writes a stream."""
        return self._wrap(handler, self.in_flight.admit_stream, self.in_flight.release_stream)

    def _wrap(self, handler: Handler, admit: Observer, release: Observer) -> Handler:
        finish = _in_turn((release, *self.observers))

        async def handle(request: Any, context: Context) -> Any:
            call = _entered(context)
            try:
                context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
                admit(call)
                return await handler(request, context)
            except BaseException as error:  # noqa: BLE001 - fail() re-raises what it does not map
                await fail(call, context, error)
            finally:
                finish(call)

        return handle


def _entered(context: Context) -> Call:
    """Return the call that the router opened, now with its context."""
    call = calls.current()
    if call is None:
        raise RuntimeError("the router opens the call")
    call.context = context
    return call


def _in_turn(steps: tuple[Observer, ...]) -> Observer:
    if len(steps) == 1:
        return steps[0]

    def run(call: Call) -> None:
        for step in steps:
            step(call)

    return run
